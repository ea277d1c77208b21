import subprocess
import sys

SCRIPT = """
import logging
from absl import app
from n2uq_jax.messages import show_messages

def main(argv):
    show_messages()
    for name in ("absl", "orbax.checkpoint", "n2uq_jax.workdir.checkpoints"):
        for level in (logging.INFO, logging.WARNING, logging.ERROR):
            logging.getLogger(name).log(level, "%s says %d", name, level)

app.run(main)
"""


def test_our_warnings_are_shown_and_only_errors_of_others():
    result = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    shown = [line.split("] ")[1] for line in result.stderr.splitlines()]
    assert shown == [
        "absl says 40",
        "orbax.checkpoint says 40",
        "n2uq_jax.workdir.checkpoints says 30",
        "n2uq_jax.workdir.checkpoints says 40",
    ]
