"""Between which integers a value lies, whatever the images are."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from n2uq_jax.export.trace.graph import Op, Value
from n2uq_jax.primitives import IDENTITIES, RESHAPES

_LARGEST = 2**62
"""Bounds stay below this, so that they can be added in int64."""

_LARGEST_OPERAND = 2**31
"""Operands beyond this are not followed: their products would exceed int64."""


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
        return cls.of(max(info.min, -_LARGEST), min(info.max, _LARGEST))

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

    def union(self, *others: "Range") -> "Range":
        """Returns the range of values that lie in this one or in another."""
        lows, highs = ([getattr(r, end) for r in (self, *others)] for end in ("low", "high"))
        return Range.of(_fold(np.minimum, lows), _fold(np.maximum, highs))

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


@dataclasses.dataclass(frozen=True)
class Followed:
    """What :func:`follow` found of an operation's result.

    Args:
      range: the integers between which it lies; None if it need not be an integer.
      overflow: the range that its dtype would have to hold; None if the dtype does.
    """

    range: Range | None
    overflow: Range | None = None


def follow(op: Op, ranges: Mapping[Value, Range]) -> Followed:
    """Follows integers through one operation.

    Args:
      op: a primitive operation with one result.
      ranges: of its operands, as far as they are known.

    Returns:
      The range of the result. A result of an integer dtype always has one; a float result has one
      if it is an integer for certain, and exactly the same in float arithmetic.
    """
    (out,) = op.outputs
    operands = [ranges.get(v) or _of_constant(v) for v in op.inputs]
    known = [
        r
        for v, r in zip(op.inputs, operands, strict=True)
        if r is not None and r.within(exact(v.aval.dtype)) and r.largest <= _LARGEST_OPERAND
    ]
    found = None
    from_integers = is_integer(out) or any(v in ranges for v in op.inputs)
    if len(known) == len(operands) and from_integers:
        found = _RULES[op.name](op, known) if op.name in _RULES else None
    if found is not None and found.within(exact(out.aval.dtype)):
        return Followed(found)
    if is_integer(out):
        # Arithmetic of integer dtypes wraps around: a fault if it can, for all that is known.
        overflow = found if all(r.is_known for r in known) else None
        return Followed(Range.of_dtype(out.aval.dtype), overflow)
    return Followed(None)


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
    if float(np.abs(weight).sum()) * codes.largest >= _LARGEST:
        return Range.of(-_LARGEST, _LARGEST)

    def per_input(end: np.ndarray) -> np.ndarray:
        spread = np.broadcast_to(end, (groups * inside,)).reshape(groups, inside)
        return spread.T[None, :, :, None]

    ends = weight * per_input(low), weight * per_input(high)
    sums = (pick(*ends).sum((0, 1)).reshape(-1) for pick in (np.minimum, np.maximum))
    return Range(*sums)


def _of_constant(value: Value) -> Range | None:
    """Returns the range of what the traced function holds itself, if it is integers."""
    held = value.constant
    if held is None or not np.size(held):
        return None
    if is_integer(value) or value.aval.dtype == np.bool_:
        return Range.of_array(held)
    if np.size(held) != 1 or not jnp.issubdtype(value.aval.dtype, np.floating):
        return None
    number = float(np.asarray(held).reshape(()))
    is_small_integer = number.is_integer() and abs(number) < _LARGEST
    return Range.of(int(number), int(number)) if is_small_integer else None


def _fold(function: Callable, arrays: list[np.ndarray]) -> np.ndarray:
    result = arrays[0]
    for array in arrays[1:]:
        result = function(result, array)
    return result


# One rule for each primitive: from the operation and its operands' ranges to the result's.


def _affine(function: Callable) -> Callable:
    def rule(op: Op, operands: list[Range]) -> Range:
        a, b = operands
        ends = [function(x, y) for x in (a.low, a.high) for y in (b.low, b.high)]
        return Range.of(_fold(np.minimum, ends), _fold(np.maximum, ends))

    return rule


def _monotone(function: Callable) -> Callable:
    def rule(op: Op, operands: list[Range]) -> Range:
        return Range.of(
            function(*(r.low for r in operands)),
            function(*(r.high for r in operands)),
        )

    return rule


def _truth(op: Op, operands: list[Range]) -> Range:
    return Range.of(0, 1)


def _same(op: Op, operands: list[Range]) -> Range:
    return operands[0]


def _neg(op: Op, operands: list[Range]) -> Range:
    return Range.of(-operands[0].high, -operands[0].low)


def _abs(op: Op, operands: list[Range]) -> Range:
    low, high = operands[0].low, operands[0].high
    return Range.of(np.maximum(np.maximum(low, -high), 0), np.maximum(-low, high))


def _square(op: Op, operands: list[Range]) -> Range | None:
    if op.name == "integer_pow" and op.params["y"] != 2:
        return None
    magnitude = _abs(op, operands)
    return Range.of(magnitude.low**2, magnitude.high**2)


def _shift_right(op: Op, operands: list[Range]) -> Range | None:
    x, by = operands
    low, high = by.bounds
    if low < 0 or high > 31 or (op.name == "shift_right_logical" and x.bounds[0] < 0):
        return None
    return _affine(np.right_shift)(op, operands)


def _select(op: Op, operands: list[Range]) -> Range:
    return operands[1].union(*operands[2:])


def _keep_last(op: Op, operands: list[Range]) -> Range:
    """Keeps channels apart if the last axis is still the last."""
    x = operands[0]
    before, after = op.inputs[0].shape, op.outputs[0].shape
    same = bool(before and after) and before[-1] == after[-1]
    if op.name == "transpose":
        same = op.params["permutation"][-1] == len(after) - 1
    elif op.name == "broadcast_in_dim":
        axes = op.params["broadcast_dimensions"]
        same = same and bool(axes) and axes[-1] == len(after) - 1
    elif op.name == "rev":
        same = len(after) - 1 not in op.params["dimensions"]
    return x if same or not x.low.ndim else x.all_channels()


def _slice(op: Op, operands: list[Range]) -> Range:
    x = operands[0]
    if not x.low.ndim:
        return x
    start, limit = op.params["start_indices"][-1], op.params["limit_indices"][-1]
    step = (op.params["strides"] or (1,))[-1]
    return Range(x.low[start:limit:step], x.high[start:limit:step])


def _concatenate(op: Op, operands: list[Range]) -> Range:
    if op.params["dimension"] != len(op.outputs[0].shape) - 1:
        return operands[0].union(*operands[1:])
    parts = [r.over(v.shape[-1]) for r, v in zip(operands, op.inputs, strict=True)]
    return Range(*(np.concatenate([getattr(r, end) for r in parts]) for end in ("low", "high")))


def _pad(op: Op, operands: list[Range]) -> Range:
    x, value = operands
    if op.params["padding_config"][-1] != (0, 0, 0):
        x = x.all_channels()
    return x.union(value)


def _reduce(op: Op, operands: list[Range]) -> Range:
    last = len(op.inputs[0].shape) - 1
    return operands[0].all_channels() if last in op.params["axes"] else operands[0]


def _reduce_sum(op: Op, operands: list[Range]) -> Range | None:
    shape, axes = op.inputs[0].shape, op.params["axes"]
    sizes = [shape[axis] for axis in axes]
    if not all(isinstance(size, int) for size in sizes):
        return None
    x = operands[0]
    if len(shape) - 1 in axes and x.low.ndim:
        return Range.of(*(math.prod(sizes[:-1]) * end.sum() for end in (x.low, x.high)))
    times = math.prod(sizes)
    return Range.of(x.low * times, x.high * times)


def _window(op: Op, operands: list[Range]) -> Range:
    # The windows of these networks lie over positions alone, and padding never wins.
    keeps = op.params["window_dimensions"][-1] == op.params["window_strides"][-1] == 1
    return operands[0] if keeps else operands[0].all_channels()


def _window_sum(op: Op, operands: list[Range]) -> Range:
    x = _window(op, operands)
    times = math.prod(op.params["window_dimensions"])
    whole = Range.of(x.low * times, x.high * times)
    padded = any(pair != (0, 0) for pair in op.params["padding"])
    return whole.union(Range.of(0, 0)) if padded else whole


def _dot(op: Op, operands: list[Range]) -> Range | None:
    """Bounds a product of two arrays that both depend on the images."""
    if op.name == "dot_general":
        (contracted, _), _ = op.params["dimension_numbers"]
        sizes = [op.inputs[0].shape[axis] for axis in contracted]
    else:
        spec = op.params["dimension_numbers"].rhs_spec
        kernel = op.inputs[1].shape
        sizes = [size for axis, size in enumerate(kernel) if axis != spec[0]]
    if not all(isinstance(size, int) for size in sizes):
        return None
    bound = math.prod(sizes) * operands[0].largest * operands[1].largest
    return Range.of(-min(bound, _LARGEST), min(bound, _LARGEST))


_RULES: dict[str, Callable[[Op, list[Range]], Range | None]] = {
    **dict.fromkeys((*IDENTITIES, "convert_element_type", "ceil", "floor", "round"), _same),
    **dict.fromkeys(("eq", "ge", "gt", "le", "lt", "ne"), _truth),
    **dict.fromkeys((*RESHAPES, "broadcast_in_dim", "rev", "transpose"), _keep_last),
    "abs": _abs,
    "add": _affine(np.add),
    "clamp": _monotone(lambda low, x, high: np.minimum(np.maximum(x, low), high)),
    "concatenate": _concatenate,
    "conv_general_dilated": _dot,
    "dot_general": _dot,
    "integer_pow": _square,
    "max": _monotone(np.maximum),
    "min": _monotone(np.minimum),
    "mul": _affine(np.multiply),
    "neg": _neg,
    "pad": _pad,
    "reduce_max": _reduce,
    "reduce_min": _reduce,
    "reduce_sum": _reduce_sum,
    "reduce_window_max": _window,
    "reduce_window_min": _window,
    "reduce_window_sum": _window_sum,
    "select_n": _select,
    "shift_right_arithmetic": _shift_right,
    "shift_right_logical": _shift_right,
    "sign": _monotone(np.sign),
    "slice": _slice,
    "square": _square,
    "sub": _affine(np.subtract),
}
