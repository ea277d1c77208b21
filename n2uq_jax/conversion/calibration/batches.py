"""Batches of data as calibration takes them."""

from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp


def inputs_of(batches: Iterable[Any]) -> Iterator[jax.Array]:
    """Yields a network's inputs from batches.

    Args:
      batches: arrays, or tuples or lists whose first entry is one, such as (images, labels).

    Yields:
      The arrays.

    Raises:
      TypeError: if ``batches`` is one array, or a batch is something else.
      ValueError: if there is no batch, or one is empty or has values that are not finite.
    """
    if hasattr(batches, "shape"):
        raise TypeError("batches must be an iterable of batches, got one array: pass [array].")
    i = -1
    for i, batch in enumerate(batches):
        x = batch[0] if isinstance(batch, tuple | list) and batch else batch
        if not hasattr(x, "shape") or not hasattr(x, "dtype"):
            raise TypeError(
                f"batches must hold arrays or (array, anything) pairs, but batch {i} is a "
                f"{type(batch).__name__}."
            )
        x = jnp.asarray(x)
        if x.size == 0:
            raise ValueError(f"batches: batch {i} is empty (shape {x.shape}).")
        if jnp.issubdtype(x.dtype, jnp.floating) and not bool(jnp.isfinite(x).all()):
            raise ValueError(f"batches: batch {i} has values that are not finite.")
        yield x
    if i < 0:
        raise ValueError("batches must hold at least one batch, got none.")
