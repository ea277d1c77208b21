"""A workdir has one owner: the run that trains in it. Whoever only reads needs no lock.

The first process of a run takes the lock for all of them. It is a file with the process, its host
and a sign of life every few seconds, so it survives neither a dead process, which is seen at once
on its own host, nor a dead host, which is seen once its signs of life have stopped.
"""

import contextlib
import logging
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import filelock

logger = logging.getLogger(__name__)

LOCK = ".lock"
"""The file's name in a workdir."""

LEASE_SECONDS = 30.0
"""After this silence the owner on another host is taken for dead."""


class WorkdirInUse(RuntimeError):
    """Another run is training in the workdir."""


@contextlib.contextmanager
def owned(workdir: Path, lease_seconds: float = LEASE_SECONDS) -> Iterator[None]:
    """Holds the lock of a workdir.

    Where another host seems to hold it, this waits for a sign of life of the owner.

    Args:
      workdir: made if it is not there; then removed again if nothing was put into it.
      lease_seconds: the same for all who may hold the lock.

    Yields:
      Nothing, while the workdir is this process's own.

    Raises:
      WorkdirInUse: if another run holds it; the message says which process on which host.
      OSError: if the lock cannot be written.
    """
    is_new = not workdir.exists()
    workdir.mkdir(parents=True, exist_ok=True)
    lock = filelock.SoftFileLease(
        workdir / LOCK,
        lease_duration=lease_seconds,
        on_compromise=lambda loss: _lost(workdir),
        thread_local=False,
        poll_interval=min(1.0, lease_seconds / 10),
    )
    try:
        _acquire(lock, workdir, lease_seconds)
        try:
            yield
        finally:
            lock.release()
    finally:
        if is_new:
            with contextlib.suppress(OSError):  # it has contents, as a rule
                workdir.rmdir()


def _acquire(lock: filelock.SoftFileLease, workdir: Path, lease_seconds: float) -> None:
    try:
        lock.acquire(timeout=0)
        return
    except filelock.Timeout:
        owner = lock.owner
    if owner is not None and owner.hostname != socket.gethostname():
        logger.warning(
            "workdir %s was in use on host %s; waiting up to %.0f s for a sign of life from there.",
            workdir,
            owner.hostname,
            1.5 * lease_seconds,
        )
        with contextlib.suppress(filelock.Timeout):
            lock.acquire(timeout=1.5 * lease_seconds)
            return
    who = f"process {owner.pid} on host {owner.hostname}" if owner else "another process"
    raise WorkdirInUse(
        f"workdir {workdir} is in use by {who}: stop that run, or choose another workdir."
    )


def _lost(workdir: Path) -> None:
    """Ends this run politely: it was silent for so long that another one took it for dead."""
    logger.error("workdir %s was taken over by another run; this one stops.", workdir)
    os.kill(os.getpid(), signal.SIGTERM)
