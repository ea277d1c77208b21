"""Which channels of a chain are monotone for certain, by IEEE rounding alone."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from n2uq_jax.export.trace.graph import Graph, Op, Value, evaluate
from n2uq_jax.export.trace.network import RESHAPES, Quantizer

_KEEP = RESHAPES | {
    "broadcast_in_dim", "convert_element_type", "copy", "name", "optimization_barrier", "round",
    "stop_gradient",
}  # fmt: skip


def directions(graph: Graph, quantizer: Quantizer, constants: Mapping[Value, Any]) -> np.ndarray:
    """Returns the direction in which each channel's codes follow the accumulator.

    Addition, subtraction, multiplication by a constant, maximum, minimum and comparison are
    monotone under IEEE rounding, with or without contraction to a fused multiply-add, and so is a
    PReLU whose slope is not negative. Nothing else is taken for granted.

    Args:
      graph: the trace.
      quantizer: one whose input is a pointwise function of one product.
      constants: arrays of the values that the chain takes as given.

    Returns:
      Shape ``(channels,)``: 1 where the codes never fall, -1 where they never rise, 0 where they
      are constant, NaN where this analysis cannot tell.
    """
    assert quantizer.source is not None
    return _Analysis(graph, quantizer, constants).of(quantizer.codes)


class _Analysis:
    def __init__(self, graph: Graph, quantizer: Quantizer, constants: Mapping[Value, Any]):
        assert quantizer.source is not None
        source = quantizer.source.value
        self.channels = int(source.shape[-1])
        self.known = {source: np.ones(self.channels)}
        self.env = dict(constants)
        self.producer: dict[Value, Op] = {}
        for op in graph.ancestors([quantizer.codes], stop={source, *constants}):
            for inner in op.body or [op]:
                self.producer.update(dict.fromkeys(inner.outputs, inner))
                self._follow(inner)

    def of(self, value: Value) -> np.ndarray:
        """Returns the directions of a value."""
        return self.known[value]

    def _follow(self, op: Op) -> None:
        if any(v in self.known for v in op.inputs):
            self.known[op.outputs[0]] = self._direction(op)
        else:
            evaluate([op], self.env)

    def _direction(self, op: Op) -> np.ndarray:
        name, inputs = op.name, op.inputs
        first = self.known.get(inputs[0])
        if op.outputs[0].aval.dtype == np.bool_ and name == "convert_element_type":
            return self._unknown()
        if name in _KEEP and first is not None:
            return first
        if name == "neg" and first is not None:
            return -first
        if name in ("gt", "ge", "sub"):
            return self._agreed(self._signed(inputs[0], 1), self._signed(inputs[1], -1))
        if name in ("lt", "le"):
            return self._agreed(self._signed(inputs[0], -1), self._signed(inputs[1], 1))
        if name in ("add", "max", "min"):
            return self._agreed(*(self._signed(v, 1) for v in inputs))
        if name == "mul" or (name == "div" and inputs[0] in self.known):
            data, factor = inputs if first is not None else inputs[::-1]
            if factor not in self.known:
                return self.known[data] * np.sign(self._per_channel(factor))
        if name == "ne" and inputs[0] is inputs[1]:
            return np.zeros(self.channels)  # NaN alone differs from itself, and is refused
        if name == "select_n" and len(inputs) == 3:
            return self._selected(*inputs)
        return self._unknown()

    def _selected(self, condition: Value, otherwise: Value, chosen: Value) -> np.ndarray:
        test = self.producer.get(condition)
        if test is not None and test.name == "ne" and otherwise in self.known:
            return self.known[otherwise]  # the guard against NaN
        scaled = self.producer.get(otherwise)
        is_prelu = (
            test is not None
            and test.name in ("gt", "ge")
            and test.inputs[0] is chosen
            and not np.any(self._array(test.inputs[1]))
            and scaled is not None
            and scaled.name == "mul"
            and chosen in scaled.inputs
        )
        if not is_prelu or scaled is None:
            return self._unknown()
        (slope,) = [v for v in scaled.inputs if v is not chosen] or [chosen]
        if slope in self.known:
            return self._unknown()
        return np.where(self._per_channel(slope) >= 0, self.known[chosen], np.nan)

    def _signed(self, value: Value, sign: int) -> np.ndarray:
        return sign * self.known.get(value, np.zeros(self.channels))

    def _agreed(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.where(a * b >= 0, np.sign(a + b), np.nan)

    def _unknown(self) -> np.ndarray:
        return np.full(self.channels, np.nan)

    def _array(self, value: Value) -> np.ndarray:
        return np.asarray(self.env[value] if value.constant is None else value.constant)

    def _per_channel(self, value: Value) -> np.ndarray:
        array = self._array(value)
        rows = array.reshape(-1, array.shape[-1]) if array.ndim else array.reshape(1, 1)
        return np.broadcast_to(rows[0], (self.channels,)).astype(np.float64)
