import os
import subprocess
from pathlib import Path

import pytest

LAUNCH = Path(__file__).resolve().parents[2] / "launch"


@pytest.fixture
def launch():
    """The folder of the scripts."""
    return LAUNCH


@pytest.fixture
def run():
    """Runs a script to its end, or a non-executable one with bash."""

    def run(script, *arguments, **environment):
        path = LAUNCH / script
        shell = [] if os.access(path, os.X_OK) else ["bash"]
        return subprocess.run(
            [*shell, path, *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            env=os.environ | {"N2UQ_PYTHON": "python"} | environment,
        )

    return run
