"""Pooling of integers."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jax import lax

from n2uq_jax.arithmetic.rescaling import LARGEST_SUM
from n2uq_jax.nn.integer.grid import is_integer
from n2uq_jax.quantizers import QArray


def max_pool(
    x: QArray,
    window: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
) -> QArray:
    """Takes the largest code of each window.

    Args:
      x: shape ``(batch, *spatial, channels)``.
      window: one size a spatial axis.
      strides: one a spatial axis.
      padding: a ``(low, high)`` pair a spatial axis; padding is never the largest.

    Returns:
      Codes of the same kind, scale and bound.
    """
    smallest = np.iinfo(np.int32).min if is_integer(x) else -np.inf
    codes = lax.reduce_window(
        x.codes,
        np.asarray(smallest, x.codes.dtype),
        lax.max,
        (1, *window, 1),
        (1, *strides, 1),
        ((0, 0), *padding, (0, 0)),
    )
    return dataclasses.replace(x, codes=codes)


def average_pool(x: QArray) -> QArray:
    """Averages over all spatial positions: the codes are summed, and the scale is divided.

    Args:
      x: shape ``(batch, *spatial, channels)``.

    Returns:
      Shape ``(batch, channels)``, of the same kind.

    Raises:
      ValueError: if a sum could leave 32 bits.
    """
    count = int(np.prod(x.shape[1:-1]))
    if x.max_code is None or count * x.max_code > LARGEST_SUM:
        raise ValueError(
            f"the sum of {count:,} positions with codes up to {x.max_code} leaves 32 bits: "
            "lower stream_bits or the image's size."
        )
    axes = tuple(range(1, x.ndim - 1))
    return QArray(x.codes.sum(axes, dtype=x.codes.dtype), x.scale / count, count * x.max_code)
