import os
import signal
import socket
import subprocess
import sys
import time

import filelock
import pytest

from n2uq_jax.workdir import lock
from n2uq_jax.workdir.lock import LOCK, WorkdirInUse, owned

HOLD = """
import sys, time
from pathlib import Path
from n2uq_jax.workdir.lock import owned
with owned(Path(sys.argv[1])):
    print("owned", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of ``tmp_path``."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "owned\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_run_is_told_who_the_first_is_and_a_dead_one_is_nobody(holder, tmp_path):
    started = time.monotonic()
    in_use = pytest.raises(WorkdirInUse, match=f"in use by process {holder.pid} on host")
    with in_use, owned(tmp_path):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / LOCK).exists()
    with owned(tmp_path):
        assert time.monotonic() - started < 5
    assert not (tmp_path / LOCK).exists()


def of_another_host(path, monkeypatch):
    """Holds a lock as a process on another host would."""
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    lease = filelock.SoftFileLease(path, lease_duration=0.6, thread_local=False)
    lease.acquire()
    monkeypatch.undo()
    return lease


def test_process_numbers_count_within_their_container():
    host, own = socket.gethostname(), os.stat("/proc/self/ns/pid").st_ino
    assert lock._is_here(host)
    assert lock._is_here(f"{host}?pidns-{own:x}")
    assert not lock._is_here(f"{host}?pidns-{own + 1:x}")
    assert not lock._is_here(f"elsewhere?pidns-{own:x}")


def test_a_host_that_shows_signs_of_life_is_left_alone(tmp_path, monkeypatch, caplog):
    lease = of_another_host(tmp_path / LOCK, monkeypatch)
    with pytest.raises(WorkdirInUse, match="on host elsewhere"), owned(tmp_path, 0.6):
        pass
    assert "waiting up to 1 s for a sign of life" in caplog.text
    lease.release()


def test_a_silent_host_is_taken_for_dead(tmp_path, monkeypatch):
    lease = of_another_host(tmp_path / LOCK, monkeypatch)
    record = (tmp_path / LOCK).read_text()
    lease.release()
    (tmp_path / LOCK).write_text(record)
    with owned(tmp_path, 0.6):
        assert socket.gethostname() in (tmp_path / LOCK).read_text()


def test_whoever_lost_the_lock_stops(tmp_path, monkeypatch, caplog):
    sent = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    lock._lost(tmp_path, "marker-missing")
    assert sent == [(os.getpid(), signal.SIGTERM)]
    assert "is lost (marker-missing); this run saves and stops" in caplog.text


def test_a_folder_that_stays_empty_is_removed(tmp_path):
    with pytest.raises(KeyError), owned(tmp_path / "new"):
        raise KeyError
    assert not (tmp_path / "new").exists()
    with owned(tmp_path / "new"):
        (tmp_path / "new/config.json").touch()
    assert os.listdir(tmp_path / "new") == ["config.json"]
