"""A polite end: SIGTERM and Ctrl-C mean to save and stop, on every process at the same step."""

import multiprocessing
import os
import signal
from types import FrameType
from typing import Any

import jax
from jax.experimental import multihost_utils

NOTICE = b"\nCtrl-C: saving after this step. Once more ends at once, without saving.\n"


class Preempted(Exception):
    """The run was asked to stop, and has saved a checkpoint.

    Args:
      cause: what asked.
      where: the stage and the step that were saved.
    """

    def __init__(self, cause: str, where: str):
        super().__init__(f"Stopped by {cause} after saving {where}.")
        self.cause = cause


class Preemption:
    """Watches for SIGTERM and Ctrl-C while in use as a context manager, over all stages of a run.

    Where no step was taken since the last checkpoint, Ctrl-C raises ``KeyboardInterrupt`` as ever:
    there is nothing to save. A second Ctrl-C ends the process at once. With several processes
    JAX's own watcher takes SIGTERM and agrees on a step with all of them; Ctrl-C becomes one.
    """

    def __init__(self) -> None:
        self._cause: str | None = None
        self._previous: dict[signal.Signals, Any] = {}
        self._steps = 0
        self._unsaved = False

    def __enter__(self) -> "Preemption":
        handlers: dict[signal.Signals, Any] = {}
        # A launcher's processes are deaf to Ctrl-C, and it tells them by SIGTERM.
        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
            handlers[signal.SIGINT] = self._interrupt
        if jax.process_count() == 1:
            handlers[signal.SIGTERM] = self._receive
        self._previous = {name: signal.signal(name, take) for name, take in handlers.items()}
        return self

    def __exit__(self, *_) -> None:
        for name, handler in self._previous.items():
            signal.signal(name, handler)

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        self._cause = self._cause or "SIGTERM"

    def _interrupt(self, signum: int, frame: FrameType | None) -> None:
        if self._cause == "Ctrl-C":
            for worker in multiprocessing.active_children():  # which do not hear Ctrl-C
                worker.kill()
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        elif not self._unsaved:
            raise KeyboardInterrupt
        else:
            self._cause = "Ctrl-C"
            os.write(2, NOTICE)
            if jax.process_count() > 1:
                os.kill(os.getpid(), signal.SIGTERM)

    @property
    def cause(self) -> str:
        """What asked to stop."""
        return self._cause or "SIGTERM"

    def reached(self) -> bool:
        """Says whether to save and stop; every process asks once after every step of every stage.

        JAX wants steps that grow over the whole run, while those of a stage start anew, so the
        steps of this run are counted here.
        """
        self._steps += 1
        self._unsaved = True
        if jax.process_count() == 1:
            return self._cause is not None
        return bool(multihost_utils.reached_preemption_sync_point(self._steps))

    def saved(self) -> None:
        """Takes note that all steps so far are on disk."""
        self._unsaved = False
