"""Which channels of a chain are monotone for certain, by IEEE rounding alone."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from n2uq_jax.export.trace.graph import Graph, Op, Value, evaluate
from n2uq_jax.export.trace.quantizer import Quantizer
from n2uq_jax.primitives import known


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
        inputs, signs = op.inputs, known(op.name).signs
        if op.outputs[0].aval.dtype == np.bool_ and op.name == "convert_element_type":
            return self._unknown()
        if signs and len(signs) == len(inputs):
            directions = [
                self._signed(value, 1 if sign == "+" else -1)
                for value, sign in zip(inputs, signs, strict=True)
            ]
            return functools.reduce(self._agreed, directions)
        if op.name == "mul" or (op.name == "div" and inputs[0] in self.known):
            data, factor = inputs if inputs[0] in self.known else inputs[::-1]
            if factor not in self.known:
                return self.known[data] * np.sign(self._per_channel(factor))
        if op.name == "ne" and inputs[0] is inputs[1]:
            return np.zeros(self.channels)  # NaN alone differs from itself, and is refused
        if op.name == "select_n" and len(inputs) == 3:
            return self._selected(*inputs)
        return self._unknown()

    def _selected(self, condition: Value, otherwise: Value, chosen: Value) -> np.ndarray:
        test = self.producer.get(condition)
        if test is None:
            return self._unknown()
        if test.name == "ne" and test.inputs[0] is test.inputs[1] and otherwise in self.known:
            return self.known[otherwise]  # the guard against NaN
        if test.name in ("gt", "ge", "lt", "le") and all(
            map(self._is_same, test.inputs, (chosen, otherwise))
        ):
            return self._agreed(self._signed(chosen, 1), self._signed(otherwise, 1))  # max or min
        if self._is_above_zero(test, chosen):
            slope = self._slope(chosen, otherwise)
            if slope is not None:
                return np.where(slope >= 0, self.known[chosen], np.nan)
        return self._unknown()

    def _is_same(self, a: Value, b: Value) -> bool:
        """Whether two values are one, or the same computation written twice."""
        if a is b:
            return True
        if a.constant is not None and b.constant is not None:
            return np.array_equal(a.constant, b.constant)
        x, y = self.producer.get(a), self.producer.get(b)
        if x is None or y is None or x.name != y.name or x.params != y.params:
            return False
        return len(x.inputs) == len(y.inputs) and all(map(self._is_same, x.inputs, y.inputs))

    def _is_above_zero(self, test: Op, value: Value) -> bool:
        if test.name not in ("gt", "ge") or test.inputs[0] is not value:
            return False
        return test.inputs[1] not in self.known and not np.any(self._array(test.inputs[1]))

    def _slope(self, value: Value, scaled: Value) -> np.ndarray | None:
        """Returns the factor by which a value is scaled, if it is: the slope of a PReLU."""
        op = self.producer.get(scaled)
        if op is None or op.name != "mul" or value not in op.inputs or value not in self.known:
            return None
        (factor,) = [v for v in op.inputs if v is not value] or [value]
        return None if factor in self.known else self._per_channel(factor)

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
