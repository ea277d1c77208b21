"""The iterator that a training loop holds: it stands at a step, and a step is its whole state."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

Batch = dict[str, np.ndarray]
logger = logging.getLogger(__name__)


class BatchIterator(Iterator[Batch]):
    """Batches of one process. `step` counts those handed out and is the whole of the state.

    The state therefore does not depend on the number of processes or workers: what a run of one
    process saved, a run of eight restores. Worker processes start at the first batch; `close`, or
    leaving a `with` block, ends them.

    Args:
      read_from: reads batches from a step on; each also has "bad_records", a tuple of descriptions.
      identity: what a step number means the same images for, JSON-able.
      max_bad_records: more distinct corrupt records than this are an error.
      step: where to start.
      length: number of batches; None if they are endless.
      num_workers: processes that `read_from` starts.
      copy: whether to copy arrays out of the workers' shared memory.
    """

    def __init__(
        self,
        read_from: Callable[[int], Iterator[dict[str, Any]]],
        identity: Mapping[str, str | int],
        max_bad_records: int,
        step: int = 0,
        length: int | None = None,
        num_workers: int = 0,
        copy: bool = True,
    ):
        if step < 0:
            raise ValueError(f"start_step: {step}, expected at least 0")
        if max_bad_records < 0:
            raise ValueError(f"max_bad_records: {max_bad_records}, expected at least 0")
        self._read_from = read_from
        self._identity = dict(identity)
        self._max_bad_records = max_bad_records
        self._length = length
        self._num_workers = num_workers
        self._copy = copy
        self._reader: Iterator[dict[str, Any]] | None = None
        self._bad_records: dict[str, None] = {}
        self.step = step

    @property
    def bad_records(self) -> tuple[str, ...]:
        """The distinct corrupt records met so far, each with its name and what is wrong with it."""
        return tuple(self._bad_records)

    def __len__(self) -> int:
        if self._length is None:
            raise TypeError("train_batches is endless and has no length")
        return self._length

    def __next__(self) -> Batch:
        if self._reader is None:
            self._reader = self._read_from(self.step)
        batch = next(self._reader)
        self._count(batch.pop("bad_records"))
        self.step += 1
        return {key: _own(value) for key, value in batch.items()} if self._copy else batch

    def _count(self, bad_records: tuple[str, ...]) -> None:
        for description in bad_records:
            if description not in self._bad_records:
                self._bad_records[description] = None
                logger.warning("skipped a corrupt record: %s", description)
        if len(self._bad_records) > self._max_bad_records:
            raise RuntimeError(
                f"{len(self._bad_records)} corrupt records, more than "
                f"max_bad_records={self._max_bad_records}: {'; '.join(self._bad_records)}"
            )

    def get_state(self) -> dict[str, str | int]:
        """The state after the last batch handed out, JSON-able.

        Returns:
          The step and what identifies the batches, for :meth:`set_state`.
        """
        return {"step": self.step, **self._identity}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes to where `state` was taken, in this run or another.

        Args:
          state: what :meth:`get_state` returned.

        Raises:
          ValueError: `state` belongs to another data set, batch size or seed, where the same step
            number would mean other images.
        """
        found = {key: value for key, value in state.items() if key != "step"}
        if found != self._identity or "step" not in state:
            raise ValueError(f"state: {dict(state)}, expected a step and {self._identity}")
        self.close()
        self.step = int(state["step"])

    def close(self) -> None:
        """Ends worker processes. Another `next` starts them again where the iterator stands."""
        reader, self._reader = self._reader, None
        if reader is not None and hasattr(reader, "close"):
            reader.close()
            del reader
            if self._num_workers:
                gc.collect()  # Grain's iterators hold workers' memory in cycles, up to a loud exit

    def __enter__(self) -> BatchIterator:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _own(value: np.ndarray) -> np.ndarray:
    # Workers send shared memory, which Grain fails to release if it is held until the exit.
    return value if type(value) is np.ndarray else np.array(value)
