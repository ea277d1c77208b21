"""Batches on their way to the device while the step runs."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")
_POLL_SECONDS = 0.1


class Prefetch(Iterator[T], Generic[T]):
    """Reads `iterator` and calls `put` in a thread of its own, up to `depth` batches ahead.

    The state is that of the last batch handed out, not of the last one read, so a checkpoint taken
    between two steps resumes with the batch that would have come next.

    Args:
      iterator: what to read; its `get_state` and `set_state` are used where it has them.
      put: what to do with each batch in the thread, such as moving it to the devices with
        `jax.make_array_from_process_local_data`.
      depth: finished batches that may wait, at least 1.

    Raises:
      ValueError: `depth` is below 1.
    """

    def __init__(self, iterator: Iterator[Any], put: Callable[[Any], T], depth: int = 2):
        if depth < 1:
            raise ValueError(f"depth: {depth}, expected at least 1")
        self._iterator = iterator
        self._put = put
        self._depth = depth
        self._state = self._source_state()
        self._thread: threading.Thread | None = None
        self._end: BaseException | None = None

    def __next__(self) -> T:
        if self._end is not None:
            raise self._end
        if self._thread is None:
            self._start()
        kind, value, state = self._queue.get()
        if kind == "end":
            self._end = value
            raise value
        self._state = state
        return value

    def get_state(self) -> Any:
        """State of `iterator` after the last batch handed out.

        Returns:
          What the iterator's ``get_state`` returned.
        """
        if self._state is None:
            raise TypeError(f"{type(self._iterator).__name__} has no get_state")
        return self._state

    def set_state(self, state: Any) -> None:
        """Drops what was read ahead and goes to `state`.

        Args:
          state: what :meth:`get_state` returned.
        """
        self._stop()
        self._iterator.set_state(state)  # type: ignore[attr-defined]
        self._state = self._source_state()
        self._end = None

    def close(self) -> None:
        """Ends the thread and closes `iterator`; no batch can be read afterwards."""
        self._stop()
        self._end = self._end or StopIteration()
        if hasattr(self._iterator, "close"):
            self._iterator.close()

    def __enter__(self) -> Prefetch[T]:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _source_state(self) -> Any:
        return self._iterator.get_state() if hasattr(self._iterator, "get_state") else None

    def _start(self) -> None:
        self._queue: queue.Queue[tuple[str, Any, Any]] = queue.Queue(self._depth)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._read_ahead, name="prefetch", daemon=True)
        self._thread.start()

    def _stop(self) -> None:
        if self._thread is not None:
            self._stopping.set()
            self._thread.join()
            self._thread = None
            del self._queue  # and the batches in it

    def _read_ahead(self) -> None:
        while not self._stopping.is_set():
            try:
                item = ("batch", self._put(next(self._iterator)), self._source_state())
            except BaseException as error:  # handed to the consumer, who raises it
                self._offer(("end", error, None))
                return
            self._offer(item)
            del item  # an error's traceback would keep it

    def _offer(self, item: tuple[str, Any, Any]) -> None:
        while not self._stopping.is_set():
            try:
                self._queue.put(item, timeout=_POLL_SECONDS)
                return
            except queue.Full:
                continue
