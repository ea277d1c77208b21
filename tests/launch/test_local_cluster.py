import os
import signal
import socket
import subprocess
import time

import pytest

STUB = """#!/bin/bash
# Stands in for the interpreter; what each process does is named by its flags.
for flag in "$@"; do [[ $flag != --process_id=* ]] || id=${flag#*=}; done
echo "$@" > "$OUT/$id"
wait_for_term() {
  trap 'echo saved > "$OUT/$id.end"; exit 0' TERM
  touch "$OUT/$id.ready"
  while true; do sleep 0.1; done
}
deaf() {
  trap '' TERM
  touch "$OUT/$id.ready"
  while true; do sleep 0.1; done
}
case "$*" in
  *--serve*) wait_for_term ;;
  *--deaf*) deaf ;;
  *--fail*)
    [[ $id == 1 ]] || wait_for_term
    until [[ -e $OUT/0.ready ]]; do sleep 0.1; done
    exit 7 ;;
  *--hang*)
    [[ $id == 1 ]] || deaf
    until [[ -e $OUT/0.ready ]]; do sleep 0.1; done
    kill -KILL $$ ;;
esac
"""


@pytest.fixture
def stub(tmp_path):
    path = tmp_path / "python"
    path.write_text(STUB)
    path.chmod(0o755)
    return {"N2UQ_PYTHON": str(path), "OUT": str(tmp_path)}


def flags(i, n, devices, port=2345):
    return (
        f"-m n2uq_jax.main --distributed --coordinator_address=localhost:{port} "
        f"--num_processes={n} --cpu_devices={devices} --process_id={i}"
    )


@pytest.mark.parametrize(
    ("options", "n", "devices"),
    [(["1"], 1, 8), (["4"], 4, 2), (["--devices-per-process", "3", "2"], 2, 3)],
)
def test_dry_run(run, options, n, devices):
    more = ["--port", "2345", "--dry-run", "--", "--config", "a b", "--config.x=(1, 2)"]
    result = run("local_cluster.sh", *options, *more)
    assert result.returncode == 0
    tail = r" --config a\ b --config.x=\(1\,\ 2\)"
    assert result.stdout.splitlines() == [f"python {flags(i, n, devices)}{tail}" for i in range(n)]


def test_every_process_gets_its_flags(run, stub, tmp_path):
    result = run("local_cluster.sh", "2", "--port", "2345", "--", "--config", "c", **stub)
    assert (result.returncode, result.stderr) == (0, "")
    for i in range(2):
        assert (tmp_path / str(i)).read_text() == f"{flags(i, 2, 4)} --config c\n"


def test_the_port_is_free(run):
    line = run("local_cluster.sh", "1", "--dry-run", "--", "--config=c").stdout
    port = int(line.split("localhost:")[1].split()[0])
    with socket.socket() as s:
        s.bind(("localhost", port))


def test_one_failure_ends_all_and_its_code_is_passed_on(run, stub, tmp_path):
    began = time.monotonic()
    result = run("local_cluster.sh", "3", "--devices-per-process", "1", "--", "--fail", **stub)
    assert time.monotonic() - began < 5
    assert result.returncode == 7
    assert "process 1 ended with exit code 7" in result.stderr
    assert [(tmp_path / f"{i}.end").exists() for i in range(3)] == [True, False, True]


def test_survivors_that_do_not_listen_are_killed(run, stub):
    began = time.monotonic()
    result = run("local_cluster.sh", "2", "--grace", "1", "--", "--hang", **stub)
    assert time.monotonic() - began < 5
    assert result.returncode == 128 + signal.SIGKILL


@pytest.fixture
def start(launch, stub, tmp_path):
    """Starts two processes and waits until both run."""
    started = []

    def start(flag):
        process = subprocess.Popen(
            # A shell that runs the tests in the background ignores SIGINT, and so would this.
            ["env", "--default-signal=INT", launch / "local_cluster.sh", "2", "--", flag],
            env=os.environ | stub,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        deadline = time.monotonic() + 10
        while not all((tmp_path / f"{i}.ready").exists() for i in range(2)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return process

    yield start
    for process in started:
        process.stderr.close()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_all_processes_save(start, tmp_path, number):
    process = start("--serve")
    process.send_signal(number)
    assert process.wait(timeout=5) == 0
    assert [(tmp_path / f"{i}.end").read_text() for i in range(2)] == ["saved\n"] * 2


def test_ctrl_c_in_a_terminal_ends_what_the_launcher_waits_for_and_not_the_launcher(
    start, tmp_path
):
    process = start("--serve")
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=5) == 0
    assert [(tmp_path / f"{i}.end").read_text() for i in range(2)] == ["saved\n"] * 2


def test_a_second_signal_kills(start):
    process = start("--deaf")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=5) == 128 + signal.SIGKILL


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["2"], "flags of n2uq_jax.main are missing"),
        (["--", "--config"], "N must be a positive integer, got ''"),
        (["0", "--"], "N must be a positive integer, got '0'"),
        (["3", "--"], "N=3 does not divide 8"),
        (["2", "3", "--"], "unexpected argument '3'"),
        (["2", "--workdir", "x"], "unknown option --workdir"),
        (["2", "--port", "http", "--"], "--port must be a positive integer, got 'http'"),
        (["2", "--grace"], "an option lacks its value"),
    ],
)
def test_wrong_use(run, arguments, message):
    result = run("local_cluster.sh", *arguments)
    assert result.returncode == 2
    assert message in result.stderr


def test_help(run):
    result = run("local_cluster.sh", "--help")
    assert result.returncode == 0
    assert result.stdout.startswith("usage: local_cluster.sh N")
