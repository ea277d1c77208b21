"""Residual sums in int32 fixed point, so that nothing between stem and head is float."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from n2uq_jax.export.network import MOVES, Network, Product
from n2uq_jax.export.program import Execution, IntegerProgram, Tensors, threshold_tensors
from n2uq_jax.export.trace import Op, Value, evaluate

FRACTION_BITS = 16
"""Fixed-point values are multiples of ``2**-16``; their magnitude must stay below ``2**14``."""

_MULTIPLIER_BITS = 15


@dataclasses.dataclass(frozen=True)
class FixedPointProgram(IntegerProgram):
    """An integer program whose residual sums are fixed point. Unlike its parent it is not exact.

    Each multiplication by a parameter becomes one by a 15-bit integer and a shift, per channel;
    additions, comparisons and PReLUs are integer too. The first convolution and the head stay
    float. How many codes differ is for :func:`~n2uq_jax.export.proof.compare` to measure.
    """

    def run(self, tensors: Tensors, images: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Executes the program; as in :class:`IntegerProgram`."""
        execution = _FixedPoint(self.network(images), self.folded, tensors, images, building=False)
        return execution.results()


def to_fixed_point(program: IntegerProgram) -> FixedPointProgram:
    """Replaces the float arithmetic between stem and head by fixed point.

    Args:
      program: an exact integer program.

    Returns:
      The approximate one; its float tensors are those of the first convolution and the head.
    """
    images = jnp.zeros((1, *program.image_shape), jnp.float32)
    network = program.network(images)
    execution = _FixedPoint(network, program.folded, program.tensors, images, building=True)
    execution.results()
    kept = {name: program.tensors[name] for name in sorted(execution.used)}
    thresholds = {
        f"{name}/{key}": array
        for name in program.folded
        for key, array in threshold_tensors(program.tensors, name).items()
    }
    return FixedPointProgram(
        function=program.function,
        parameters=program.parameters,
        tensors={**kept, **thresholds, **execution.made},
        folded=program.folded,
        unfolded=program.unfolded,
        image_shape=program.image_shape,
    )


@dataclasses.dataclass(frozen=True)
class _Fixed:
    """``integers * 2**-bits``; or booleans."""

    integers: jax.Array
    bits: int


class _FixedPoint(Execution):
    """Runs a program in fixed point wherever it can.

    While building it computes the integer constants from the float parameters; afterwards it
    finds them among the tensors, by the order in which they are asked for.
    """

    def __init__(self, network: Network, folded, tensors: Tensors, images, *, building: bool):
        super().__init__(network, folded, {}, images)
        self.tensors = tensors
        self.building = building
        self.fixed: dict[Value, _Fixed] = {}
        self.made: dict[str, np.ndarray] = {}
        self.used: set[str] = set()
        self._weights = {p.weight for p in network.products}
        self._count = 0

    def multiply(self, product: Product) -> None:
        self.env[product.weight] = self._parameter(product.weight)
        super().multiply(product)

    def compute(self, op: Op) -> None:
        data = [v for v in dict.fromkeys(op.inputs) if self._is_data(v)]
        if not data:
            return  # computed when something float asks for it
        known = {v: fixed for v in data if (fixed := self._as_fixed(v)) is not None}
        if len(known) == len(data):
            if op.is_quantizer:
                for inner in op.body:
                    self.compute(inner)
                codes = op.outputs[0]
                self.env[codes] = self._narrow(self.fixed.pop(codes).integers, codes)
                return
            result = self._integer(op, known)
            if result is not None:
                self.fixed[op.outputs[0]] = result
                return
        super().compute(op)
        if op.name == "optimization_barrier":
            value = op.outputs[0]
            rounded = jnp.round(self.env.pop(value) * np.float32(2**FRACTION_BITS))
            self.fixed[value] = _Fixed(rounded.astype(jnp.int32), FRACTION_BITS)

    def floats(self, value: Value) -> jax.Array:
        if value in self.fixed:
            fixed = self.fixed[value]
            return fixed.integers.astype(jnp.float32) * np.float32(2.0**-fixed.bits)
        if not self._is_data(value):
            return self._parameter(value)
        return super().floats(value)

    def _is_data(self, value: Value) -> bool:
        return value in self.fixed or (value in self.env and value not in self._weights)

    def _as_fixed(self, value: Value) -> _Fixed | None:
        if value in self.fixed:
            return self.fixed[value]
        held = self.env[value]
        return _Fixed(held, 0) if jnp.issubdtype(held.dtype, jnp.integer) else None

    def _parameter(self, value: Value, *, used: bool = True) -> jax.Array:
        """Computes what depends on parameters alone; ``used`` if the program has to keep them."""
        if value.constant is not None:
            return jnp.asarray(value.constant, value.aval.dtype)
        if value in self.names:
            name = self.names[value]
            if used:
                self.used.add(name)
            return jnp.asarray(self.tensors[name])
        op = self._producer(value)
        env = {v: self._parameter(v, used=used) for v in op.inputs if v.constant is None}
        evaluate([op], env)
        return env[value]

    def _producer(self, value: Value) -> Op:
        if value in self.network.graph.producer:
            return self.network.graph.producer[value]
        return next(o for op in self.ops for o in op.body if value in o.outputs)

    def _constant(self, value: Value, make: Callable[[np.ndarray], np.ndarray]) -> Any:
        """Returns an integer constant made of a float one that depends on parameters alone."""
        name = f"fixed_point/{self._count}"
        self._count += 1
        if self.building:
            floats = np.asarray(self._parameter(value, used=False), np.float64)
            self.made[name] = make(_collapsed(np.nan_to_num(floats)))
            return jnp.asarray(self.made[name])
        return self.tensors[name]

    def _integer(self, op: Op, known: dict[Value, _Fixed]) -> _Fixed | None:
        """Computes an operation on integers, or returns None if it has no such form."""
        name, inputs = op.name, op.inputs
        first = known.get(inputs[0])
        if name in ("convert_element_type", "copy", "name", "optimization_barrier"):
            assert first is not None
            return _Fixed(_as_int(first.integers), first.bits) if name[0] == "c" else first
        if name in MOVES and len(inputs) == 1 and first is not None:
            return _Fixed(op(first.integers)[0], first.bits)
        if name == "ne" and inputs[0] is inputs[1] and first is not None:
            return _Fixed(jnp.zeros(first.integers.shape, bool), 0)  # integers are never NaN
        if name in ("and", "or", "not", "xor"):
            return _Fixed(op(*(known[v].integers for v in inputs))[0], 0)
        if name == "neg" and first is not None:
            return _Fixed(-first.integers, first.bits)
        if name == "round" and first is not None:
            half = (1 << first.bits) >> 1
            return _Fixed((first.integers + half) >> first.bits, 0)
        if name in ("mul", "div"):
            return self._scaled(op, known)
        if name in ("gt", "ge", "lt", "le"):
            return self._compared(op, known)
        if name in ("add", "sub", "max", "min"):
            a, b, bits = self._aligned(inputs, known)
            return _Fixed(op.primitive.bind(*jnp.broadcast_arrays(a, b)), bits)
        if name == "select_n" and len(inputs) == 3 and first is not None:
            a, b, bits = self._aligned(inputs[1:], known)
            return _Fixed(jnp.where(first.integers, b, a), bits)
        return None

    def _aligned(self, values: list[Value], known: dict[Value, _Fixed]):
        """Returns two operands as multiples of the same power of two, and its exponent."""
        bits = max(known[v].bits for v in values if v in known)
        arrays = []
        for value in values:
            if value in known:
                fixed = known[value]
                arrays.append(_as_int(fixed.integers) << (bits - fixed.bits))
            else:
                arrays.append(self._constant(value, lambda c: _round(c * 2.0**bits)))
        return *arrays, bits

    def _scaled(self, op: Op, known: dict[Value, _Fixed]) -> _Fixed | None:
        a, b = op.inputs
        if (a in known) == (b in known) or (op.name == "div" and b in known):
            return None
        data, factor = (a, b) if a in known else (b, a)
        fixed = known[data]
        unit = 2.0 ** (FRACTION_BITS - fixed.bits)

        def make(c: np.ndarray) -> np.ndarray:
            return _multiplier(unit / c if op.name == "div" else unit * c)

        packed = self._constant(factor, make)
        return _Fixed(_multiply_shift(_as_int(fixed.integers), packed), FRACTION_BITS)

    def _compared(self, op: Op, known: dict[Value, _Fixed]) -> _Fixed:
        a, b = op.inputs
        if a in known and b in known:
            left, right, _ = self._aligned([a, b], known)
            return _Fixed(op.primitive.bind(left, right), 0)
        data, constant = (a, b) if a in known else (b, a)
        fixed = known[data]
        # x > c with integers x is x > floor(c); x >= c is x >= ceil(c).
        strict = op.name in ("gt", "lt")
        greater = (op.name in ("gt", "ge")) == (data is a)
        rounding = np.floor if strict == greater else np.ceil
        limit = self._constant(constant, lambda c: _round(rounding(c * 2.0**fixed.bits)))
        comparison = {
            (True, True): jnp.greater,
            (True, False): jnp.greater_equal,
            (False, True): jnp.less,
            (False, False): jnp.less_equal,
        }[greater, strict]
        return _Fixed(comparison(*jnp.broadcast_arrays(_as_int(fixed.integers), limit)), 0)


def _as_int(array: jax.Array) -> jax.Array:
    return array.astype(jnp.int32)


def _round(array: np.ndarray) -> np.ndarray:
    limit = 2**31 - 1
    return np.clip(np.round(array), -limit, limit).astype(np.int32)


def _collapsed(array: np.ndarray) -> np.ndarray:
    """Drops positions, if an array is the same at all of them."""
    if array.ndim == 0:
        return array
    first = array.reshape(-1, array.shape[-1])[:1]
    if not (array.reshape(-1, array.shape[-1]) == first).all():
        return array
    return first.reshape((1,) * (array.ndim - 1) + (-1,))


def _multiplier(factor: np.ndarray) -> np.ndarray:
    """Returns the multiplier and the shift of a factor, stacked on a new first axis."""
    safe = np.where(factor == 0, 1, np.abs(factor))
    shift = np.clip(_MULTIPLIER_BITS - 1 - np.floor(np.log2(safe)), -15, 45)
    multiplier = np.round(factor * 2.0**shift)
    # Rounding up may reach 2**15, which does not fit.
    multiplier = np.clip(multiplier, -(2**15) + 1, 2**15 - 1)
    return np.stack([multiplier, shift]).astype(np.int32)


def _multiply_shift(x: jax.Array, packed: jax.Array) -> jax.Array:
    """Returns ``x * multiplier * 2**-shift``, rounded, without a product beyond 32 bits."""
    multiplier, shift = packed[0], packed[1]
    high, low = x >> 15, x & 0x7FFF
    multiplier, shift, high, low = jnp.broadcast_arrays(multiplier, shift, high, low)
    upper, lower = high * multiplier, low * multiplier
    # Large shifts drop the low half's last 15 bits; small ones keep them.
    right = jnp.clip(shift - 15, 1, 30)
    far = (upper + (lower >> 15) + (1 << (right - 1))) >> right
    near_right = jnp.clip(shift, 0, 15)
    half = (1 << near_right) >> 1
    near = (upper << jnp.clip(15 - shift, 0, 31)) + ((lower + half) >> near_right)
    near = jnp.where(shift < 0, near << jnp.clip(-shift, 0, 15), near)
    return jnp.where(shift > 15, far, near)
