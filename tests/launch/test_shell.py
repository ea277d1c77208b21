import re
import shutil
import subprocess

import pytest

SCRIPTS = ["gke_jobset.sh", "local_cluster.sh", "slurm.sbatch", "tpu_pod.sh"]


def test_no_script_is_forgotten(launch):
    found = {p.name for p in launch.iterdir() if p.is_file() and p.read_text().startswith("#!")}
    assert found == set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_strict(launch, name):
    commands = [
        line
        for line in (launch / name).read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert commands[0] == "set -euo pipefail"


@pytest.mark.extra
@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck(launch):
    result = subprocess.run(
        ["shellcheck", *[launch / name for name in SCRIPTS]],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (result.stdout, result.returncode) == ("", 0)


def test_the_readme_names_every_script(launch):
    named = set(re.findall(r"launch/([\w.]+)", (launch / "README.md").read_text()))
    assert named == set(SCRIPTS)
