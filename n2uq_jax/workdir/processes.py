"""What the processes of one run agree on; with a single process nothing waits for anybody."""

import itertools
from collections.abc import Callable, Sequence
from typing import TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

T = TypeVar("T")
_PATIENCE_MS = 24 * 60 * 60 * 1000
_barriers = itertools.count()


def is_first() -> bool:
    """Says whether this process is the one that writes files and prints."""
    return jax.process_index() == 0


def wait_for_all(name: str) -> None:
    """Returns once every process has called this, as often as this one has.

    The coordinator counts the calls, not the devices: these would give up on whoever is late.

    Args:
      name: of what was waited for, for messages.
    """
    wait = ocp.multihost.get_barrier_sync_fn()
    wait(key=f"n2uq_jax/{next(_barriers)}/{name}", timeout_ms=_PATIENCE_MS)


def first_alone(name: str, action: Callable[[], T]) -> T | None:
    """Lets the first process work while the others wait for it, and fail if it fails.

    Args:
      name: of what it does, for messages.
      action: must not wait for other processes.

    Returns:
      What ``action`` returned; None on the other processes.

    Raises:
      Exception: what ``action`` raised; a RuntimeError on the other processes.
    """
    result, problem = None, None
    if is_first():
        try:
            result = action()
        except Exception as error:  # raised below, once the others do not wait for it any more
            problem = error
    wait_for_all(name)
    failed = largest_of_all(int(problem is not None))
    if problem is not None:
        raise problem
    if failed:
        raise RuntimeError(f"{name}: the first process failed; its message says why.")
    return result


def integers_of_first(values: Sequence[int]) -> list[int]:
    """Returns the first process's integers on all of them.

    Args:
      values: of any number, below 2**31; only those of the first process count.
    """
    if jax.process_count() == 1:
        return list(values)
    count = int(multihost_utils.broadcast_one_to_all(np.int32(len(values))))
    mine = np.asarray(values, np.int32) if is_first() else np.zeros(count, np.int32)
    return multihost_utils.broadcast_one_to_all(mine).tolist()


def largest_of_all(value: int) -> int:
    """Returns the largest of the processes' integers, each below 2**31."""
    if jax.process_count() == 1:
        return value
    return int(np.max(multihost_utils.process_allgather(np.int32(value))))
