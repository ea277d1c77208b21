"""Follows the ranges of integers through operations, one rule for each primitive."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np

from n2uq_jax.export.trace.graph import Op, Value
from n2uq_jax.export.trace.ranges import LARGEST, Range, exact, is_integer
from n2uq_jax.primitives import IDENTITIES, RESHAPES

_LARGEST_OPERAND = 2**31
"""Operands beyond this are not followed: their products would exceed int64."""


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
    is_small_integer = number.is_integer() and abs(number) < LARGEST
    return Range.of(int(number), int(number)) if is_small_integer else None


# One rule for each primitive: from the operation and its operands' ranges to the result's.


def _affine(function: Callable) -> Callable:
    def rule(op: Op, operands: list[Range]) -> Range:
        a, b = operands
        ends = [function(x, y) for x in (a.low, a.high) for y in (b.low, b.high)]
        return Range.of(functools.reduce(np.minimum, ends), functools.reduce(np.maximum, ends))

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
    return Range.of(-min(bound, LARGEST), min(bound, LARGEST))


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
