"""A polite end: SIGTERM means to save and stop, on every process at the same step."""

import signal
from types import FrameType
from typing import Any

import jax
from jax.experimental import multihost_utils


class Preempted(Exception):
    """The run was asked to stop, and has saved a checkpoint."""


class Preemption:
    """Watches for SIGTERM while in use as a context manager, over all stages of a run.

    With several processes JAX's own watcher takes the signal and agrees on a step with all of them.
    """

    def __init__(self) -> None:
        self._received = False
        self._previous: Any = None
        self._steps = 0

    def __enter__(self) -> "Preemption":
        if jax.process_count() == 1:
            self._previous = signal.signal(signal.SIGTERM, self._receive)
        return self

    def __exit__(self, *_) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        self._received = True

    def reached(self) -> bool:
        """Says whether to save and stop; every process asks once after every step of every stage.

        JAX wants steps that grow over the whole run, while those of a stage start anew, so the
        steps of this run are counted here.
        """
        self._steps += 1
        if jax.process_count() == 1:
            return self._received
        return bool(multihost_utils.reached_preemption_sync_point(self._steps))
