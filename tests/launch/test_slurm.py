import os
import signal
import subprocess
import time

import pytest

STUBS = {
    "srun": """
echo $$ > "$OUT/pid"
echo "$@" >> "$OUT/srun"
trap 'exit 0' TERM
touch "$OUT/ready"
while [[ "$*" == *--serve* ]]; do sleep 0.1; done
[[ "$*" != *--fail* ]] || exit 7
""",
    "scancel": """
echo "$@" >> "$OUT/scancel"
kill -TERM "$(<"$OUT/pid")"
""",
    "scontrol": 'echo "$@" >> "$OUT/scontrol"',
}


@pytest.fixture
def slurm(tmp_path):
    """An environment in which Slurm's commands write down their arguments."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, body in STUBS.items():
        path = folder / name
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)
    return {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "OUT": str(tmp_path),
        "SLURM_JOB_ID": "42",
    }


def test_dry_run(run):
    result = run("slurm.sbatch", "--dry-run", "--config", "a b", N2UQ_PYTHON="/opt/python")
    assert result.stdout == (
        r"srun --kill-on-bad-exit=1 /opt/python -m n2uq_jax.main --distributed --config a\ b" + "\n"
    )


def test_directives(launch):
    lines = (launch / "slurm.sbatch").read_text().splitlines()
    directives = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")]
    options = [line.removeprefix("--").partition("=") for line in directives]
    assert {name: value for name, _, value in options} == {
        "job-name": "n2uq",
        "nodes": "1",
        "ntasks-per-node": "8",
        "gpus-per-node": "8",
        "cpus-per-task": "8",
        "time": "24:00:00",
        "signal": "B:USR1@300",
        "requeue": "",
        "open-mode": "append",
        "output": "n2uq-%j.out",
    }
    # sbatch reads no directive after the first command.
    last = max(i for i, line in enumerate(lines) if line.startswith("#SBATCH"))
    assert all(line.startswith("#") for line in lines[: last + 1])


@pytest.mark.parametrize(("flag", "code"), [("--config=c", 0), ("--fail", 7)])
def test_the_exit_code_is_that_of_srun(run, slurm, tmp_path, flag, code):
    assert run("slurm.sbatch", flag, **slurm).returncode == code
    assert (tmp_path / "srun").read_text() == (
        f"--kill-on-bad-exit=1 python -m n2uq_jax.main --distributed {flag}\n"
    )
    assert not (tmp_path / "scontrol").exists()


def test_no_flags(run):
    result = run("slurm.sbatch")
    assert result.returncode == 2
    assert "give the flags" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_the_time_limit_requeues_and_scancel_does_not(launch, slurm, tmp_path, number):
    job = subprocess.Popen(
        ["bash", launch / "slurm.sbatch", "--serve"],
        env=os.environ | slurm,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 10
    while not (tmp_path / "ready").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    job.send_signal(number)
    if number == signal.SIGTERM:  # which scancel sends to the steps as well
        time.sleep(0.3)
        assert job.poll() is None
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
    out, _ = job.communicate(timeout=5)
    assert job.returncode == 0
    if number == signal.SIGTERM:
        assert not (tmp_path / "scontrol").exists()
    else:
        assert (tmp_path / "scancel").read_text() == "--signal=TERM 42.0\n"
        assert (tmp_path / "scontrol").read_text() == "requeue 42\n"
        assert "job 42 goes back into the queue" in out
