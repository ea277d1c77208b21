"""Leaky activations on integers: choices that are the larger or the smaller of two numbers."""

from collections.abc import Callable

import numpy as np

from n2uq_jax.export.trace.graph import Graph, Op, Value
from n2uq_jax.primitives import IDENTITIES


def extremum(op: Op, graph: Graph, array: Callable[[Value], np.ndarray | None]) -> str | None:
    r"""Says of a choice whether it takes the larger or the smaller number everywhere.

    It is recognized in :math:`u` where :math:`u \ge 0`, else :math:`(M u + B) \gg S`. With
    :math:`0 \le B < 2^S` the second is at most the first where :math:`u \ge 0` and at least where
    :math:`u < 0` if :math:`M \le 2^S`: the larger one is taken. It is the other way around if
    :math:`M \ge 2^S`.

    Args:
      op: a choice between two numbers.
      graph: that it is in.
      array: returns a value that does not depend on the images, else None.

    Returns:
      ``"Max"``, ``"Min"``, or None if it is another choice, or channels differ.
    """
    which = graph.producer.get(op.inputs[0])
    if which is None or which.name not in ("ge", "lt"):
        return None
    u, zero = which.inputs[0], array(which.inputs[1])
    scaled, kept = op.inputs[1:] if which.name == "ge" else op.inputs[:0:-1]
    if zero is None or zero.any() or _behind(kept, graph) is not _behind(u, graph):
        return None
    constants = []
    for name in ("shift_right_arithmetic", "add", "mul"):
        found = graph.producer.get(_behind(scaled, graph))
        if found is None or found.name != name:
            return None
        data, other = found.inputs
        if name != "shift_right_arithmetic" and data not in graph.from_data:
            data, other = other, data
        number = array(other)
        if number is None:
            return None
        constants.append(number.astype(np.int64))
        scaled = data
    if _behind(scaled, graph) is not _behind(u, graph):
        return None
    shift, offset, multiplier = constants
    one = np.int64(1) << shift
    if (offset < 0).any() or (offset >= one).any():
        return None
    if (multiplier <= one).all():
        return "Max"
    return "Min" if (multiplier >= one).all() else None


def _behind(value: Value, graph: Graph) -> Value:
    """Returns the value that operations leave as it is."""
    while (op := graph.producer.get(value)) is not None and op.name in IDENTITIES:
        (value,) = op.inputs
    return value
