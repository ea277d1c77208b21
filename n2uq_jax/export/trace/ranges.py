"""Between which integers a value lies, whatever the images are."""

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
import numpy as np

from n2uq_jax.export.trace.graph import Value

LARGEST = 2**62 - 1
"""Bounds do not go beyond this, so that two of them can be added in int64."""


@dataclasses.dataclass(frozen=True, eq=False)
class Range:
    """The smallest and the largest integer that a value can be, per channel or for all.

    Args:
      low: int64, shape ``(channels,)`` for the last axis of the value, or ``()``.
      high: the same.
    """

    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, low: Any, high: Any) -> "Range":
        """Makes a range of what numpy can read."""
        return cls(*np.broadcast_arrays(np.asarray(low, np.int64), np.asarray(high, np.int64)))

    @classmethod
    def of_array(cls, array: Any) -> "Range":
        """Returns the range of an integer array, per channel."""
        array = np.asarray(array).astype(np.int64)
        rows = array.reshape(-1, array.shape[-1]) if array.ndim else array[None]
        return cls(rows.min(0), rows.max(0))

    @classmethod
    def of_dtype(cls, dtype: Any) -> "Range":
        """Returns what an integer dtype holds.

        Args:
          dtype: an integer dtype, or bool.
        """
        if dtype == np.bool_:
            return cls.of(0, 1)
        info = np.iinfo(dtype)
        return cls.of(max(info.min, -LARGEST), min(info.max, LARGEST))

    @property
    def bounds(self) -> tuple[int, int]:
        """The smallest and the largest integer in any channel."""
        return int(self.low.min()), int(self.high.max())

    @property
    def largest(self) -> int:
        """The largest magnitude in any channel."""
        low, high = self.bounds
        return max(-low, high)

    @property
    def is_known(self) -> bool:
        """Whether more is known than that the integers fit int32."""
        return self.largest < 2**31 - 1

    def over(self, channels: int) -> "Range":
        """Returns the range with an entry for every channel."""
        return Range(*(np.broadcast_to(end, (channels,)) for end in (self.low, self.high)))

    def within(self, other: "Range") -> bool:
        """Whether this range lies in another."""
        return bool((self.low >= other.low).all() and (self.high <= other.high).all())

    def union(self, *ranges: "Range") -> "Range":
        """Returns the range of values that lie in this one or in another."""
        lows, highs = ([getattr(r, end) for r in (self, *ranges)] for end in ("low", "high"))
        return Range.of(functools.reduce(np.minimum, lows), functools.reduce(np.maximum, highs))

    def all_channels(self) -> "Range":
        """Returns one range for all channels."""
        return Range.of(*self.bounds)


def exact(dtype: Any) -> Range:
    """Returns the integers between which a dtype holds all integers.

    Args:
      dtype: of floats or integers.
    """
    if jnp.issubdtype(dtype, np.floating):
        bound = 2 ** (jnp.finfo(dtype).nmant + 1)
        return Range.of(-bound, bound)
    return Range.of_dtype(dtype)


def is_integer(value: Value) -> bool:
    """Whether a value's dtype is an integer type."""
    return bool(jnp.issubdtype(value.aval.dtype, np.integer))


def of_products(weight: np.ndarray, codes: Range, *, groups: int = 1, pads: bool = False) -> Range:
    """Returns the range of sums of products, per output channel.

    Args:
      weight: integers, shape ``(..., in / groups, out)``.
      codes: what they are multiplied with, per input channel or for all.
      groups: of a grouped convolution.
      pads: whether some terms may be missing.

    Returns:
      The exact smallest and largest sum.
    """
    low, high = codes.low, codes.high
    if pads:
        low, high = np.minimum(low, 0), np.maximum(high, 0)
    inside, out = weight.shape[-2:]
    weight = weight.astype(np.int64).reshape(-1, inside, groups, out // groups)
    if float(np.abs(weight).sum()) * codes.largest >= LARGEST:
        return Range.of(-LARGEST, LARGEST)

    def per_input(end: np.ndarray) -> np.ndarray:
        by_group = np.broadcast_to(end, (groups * inside,)).reshape(groups, inside)
        return by_group.T[None, :, :, None]

    ends = weight * per_input(low), weight * per_input(high)
    sums = (pick(*ends).sum((0, 1)).reshape(-1) for pick in (np.minimum, np.maximum))
    return Range(*sums)
