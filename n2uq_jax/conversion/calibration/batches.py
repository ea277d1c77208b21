"""Batches of data as calibration takes them."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp


def joined(inputs: Sequence[jax.Array]) -> jax.Array:
    """Concatenates a network's inputs along the batch axis, which is their first.

    Args:
      inputs: what :func:`inputs_of` yields, at least one; shape ``(batch, ...)``.

    Returns:
      One array.

    Raises:
      ValueError: if one is a scalar, or shapes differ behind the batch axis.
    """
    for i, x in enumerate(inputs):
        if x.ndim == 0:
            raise ValueError(f"batches: batch {i} is a scalar; its first axis must be the batch.")
        if x.shape[1:] != inputs[0].shape[1:]:
            raise ValueError(
                f"batches must have one shape behind the batch axis, but batch {i} has shape "
                f"{x.shape}, and batch 0 {inputs[0].shape}."
            )
    return jnp.concatenate(inputs)


@contextlib.contextmanager
def naming_the_batch(x: jax.Array) -> Iterator[None]:
    """Adds the shape of the batches to what a model says of inputs that it does not take.

    Args:
      x: the model's input.

    Yields:
      Nothing.

    Raises:
      TypeError: instead of one from inside.
      ValueError: instead of one from inside.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f"{error} (The model was run on batches of shape {x.shape} in all; the first axis must "
            "be the batch.)"
        ) from error


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
