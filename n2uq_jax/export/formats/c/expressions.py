"""Integer arithmetic on the images as expressions, and the layers in them.

A multiplication, an addition and a shift are a rescaling, and so on.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from n2uq_jax.export.formats.c.layers import INT32


@dataclasses.dataclass(frozen=True, eq=False)
class Node:
    """An integer value on the images: a tensor, or an expression that is not computed yet.

    Args:
      shape: ``(height, width, channels)``.
      tensor: the tensor's name; None for an expression.
      kind: of an expression: ``"clamp"``, ``"add"``, ``"sum"``, ``"mul"``, ``"shift"``,
        ``"negative"`` (a truth value: below 0), or ``"prelu"``.
      operands: nodes.
      constants: a number for each channel.
    """

    shape: tuple[int, int, int]
    tensor: str | None = None
    kind: str = ""
    operands: tuple["Node", ...] = ()
    constants: tuple[np.ndarray, ...] = ()


def pointwise(name: str, operands: list[Any]) -> Node | None:
    """Follows an operation that computes each integer from those at the same place.

    Args:
      name: of the primitive.
      operands: nodes, at least one, and arrays of integers.

    Returns:
      The expression; None if no layer has such.
    """
    nodes = [x for x in operands if isinstance(x, Node)]
    x = nodes[0]
    first_is_node = isinstance(operands[0], Node)
    given = [per_channel(c, x.shape) for c in operands if not isinstance(c, Node)]
    constants = [c.astype(np.int64) for c in given if c is not None]
    if len(constants) < len(given):
        return None
    if name == "add" and len(nodes) == 2:
        return Node(x.shape, None, "sum", tuple(nodes))
    if name in ("add", "sub") and len(nodes) == 1 and (name == "add" or first_is_node):
        return _expression("add", x, constants[0] if name == "add" else -constants[0])
    if name == "mul" and len(nodes) == 1:
        return _expression("mul", x, constants[0])
    if name == "shift_right_arithmetic" and first_is_node and len(nodes) == 1:
        return _expression("shift", x, constants[0])
    if name == "clamp" and not first_is_node and len(nodes) == 1:
        return _expression("clamp", x, *constants)
    if name in ("max", "min") and len(nodes) == 1:
        bound = np.full_like(constants[0], INT32.max if name == "max" else INT32.min)
        ends = (constants[0], bound) if name == "max" else (bound, constants[0])
        return _expression("clamp", x, *ends)
    if name in ("ge", "lt") and first_is_node and len(nodes) == 1 and not constants[0].any():
        return Node(x.shape, None, "negative" if name == "lt" else "not negative", (x,))
    if name == "select_n" and len(nodes) == 3:
        return _leaky(*nodes)
    return None


def per_channel(constant: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray | None:
    """Returns a number for each channel, if a constant is the same at every place.

    Args:
      constant: that broadcasts over images.
      shape: of what it meets, ``(height, width, channels)``.
    """
    channels = shape[2]
    if constant.ndim == 0:
        return np.full(channels, constant)
    rows = constant.reshape(-1, constant.shape[-1])
    if rows.shape[1] not in (1, channels) or rows.tobytes() != rows[:1].tobytes() * len(rows):
        return None
    return np.broadcast_to(rows[0], (channels,))


def shape_of(shape: Sequence[int]) -> tuple[int, int, int]:
    """Returns ``(height, width, channels)`` of an array without its batch axis.

    Args:
      shape: of one image's array.

    Raises:
      ValueError: if it has neither one axis nor three.
    """
    if len(shape) == 1:
        return (1, 1, shape[0])
    if len(shape) != 3:
        raise ValueError(
            f"the format c has images of (height, width, channels), got shape {tuple(shape)}."
        )
    height, width, channels = shape
    return height, width, channels


def _expression(kind: str, operand: Node, *constants: np.ndarray) -> Node:
    return Node(operand.shape, None, kind, (operand,), constants)


def bounds(node: Node) -> tuple[Node, int, int]:
    """Splits an expression between bounds.

    Args:
      node: any.

    Returns:
      What lies below its bounds, and those.

    Raises:
      ValueError: if channels have different bounds.
    """
    low, high = int(INT32.min), int(INT32.max)
    inner = node
    while inner.kind == "clamp":
        lows, highs = inner.constants
        if np.ptp(lows) or np.ptp(highs):
            raise ValueError("the format c bounds all channels by the same integers.")
        # The outer bounds were seen first, and hold for the inner ones as well.
        low, high = (min(max(int(end[0]), low), high) for end in (lows, highs))
        (inner,) = inner.operands
    return inner, low, high


def rescaling(node: Node) -> tuple[Node, np.ndarray, np.ndarray, np.ndarray]:
    """Splits ``(multiplier * x + offset) >> shift``, in which any part may be missing.

    Args:
      node: any.

    Returns:
      ``x``, and the multiplier, offset and shift of each channel.
    """
    channels = node.shape[2]
    parts = {"shift": np.zeros(channels, np.int64), "add": np.zeros(channels, np.int64)}
    parts["mul"] = np.ones(channels, np.int64)
    for kind in ("shift", "add", "mul"):
        if node.kind == kind:
            (parts[kind],), (node,) = node.constants, node.operands
    return node, parts["mul"], parts["add"], parts["shift"]


def _leaky(which: Node, *choices: Node) -> Node | None:
    """Recognizes a choice between a number and, where it is negative, what it is rescaled to."""
    if which.kind == "negative":
        kept, scaled = choices
    elif which.kind == "not negative":
        scaled, kept = choices
    else:
        return None
    x, multiplier, offset, shift = rescaling(scaled)
    if which.operands[0] is not kept or x is not kept:
        return None
    before = np.zeros(kept.shape[2], np.int64)
    if kept.kind == "add":
        (before,), (x,) = kept.constants, kept.operands
    return _expression("prelu", x, before, multiplier, offset, shift)
