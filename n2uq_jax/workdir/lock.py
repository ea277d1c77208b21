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
      workdir: made if it is not there; then removed again, without its parents, if nothing was put
        into it.
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
        on_compromise=lambda loss: _lost(workdir, str(loss.reason)),
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
    if owner is not None and not _is_here(owner.hostname):
        logger.warning(
            "workdir %s was in use on host %s; waiting up to %.0f s for a sign of life from there.",
            workdir,
            owner.hostname.partition("?")[0],
            1.5 * lease_seconds,
        )
        with contextlib.suppress(filelock.Timeout):
            lock.acquire(timeout=1.5 * lease_seconds)
            return
    host = owner.hostname.partition("?")[0] if owner else ""
    who = f"process {owner.pid} on host {host}" if owner else "another process"
    raise WorkdirInUse(
        f"workdir {workdir} is in use by {who}: stop that run, or choose another workdir."
    )


def _is_here(host: str) -> bool:
    """Whether an owner's process numbers are of this host and, within one, of this container."""
    name, _, namespace = host.partition("?pidns-")  # as filelock writes it
    if name != socket.gethostname():
        return False
    return not namespace or int(namespace, 16) == os.stat("/proc/self/ns/pid").st_ino


def _lost(workdir: Path, reason: str) -> None:
    """Ends this run as SIGTERM does: it was silent for long, or somebody took the lock's file."""
    logger.error("the lock of workdir %s is lost (%s); this run saves and stops.", workdir, reason)
    os.kill(os.getpid(), signal.SIGTERM)
