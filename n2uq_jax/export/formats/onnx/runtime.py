"""``model.onnx``: the program in standard ONNX operators, for ONNX Runtime."""

import functools

import numpy as np
from onnx import TensorProto, checker

from n2uq_jax.export.formats.onnx.builder import OnnxBuilder
from n2uq_jax.export.formats.onnx.comparisons import Comparisons, add_codes
from n2uq_jax.export.formats.onnx.graph import row_length
from n2uq_jax.export.formats.onnx.leaky import extremum
from n2uq_jax.export.formats.onnx.operations import add_integer_operation
from n2uq_jax.export.formats.onnx.pooling import PooledChain, pooled_chains
from n2uq_jax.export.formats.onnx.products import add_product, add_saturating, can_saturate
from n2uq_jax.export.formats.onnx.window import Codes
from n2uq_jax.export.program.program import IntegerProgram
from n2uq_jax.export.trace.graph import Op, Value
from n2uq_jax.export.trace.products import Product
from n2uq_jax.export.trace.quantizer import Quantizer, Source
from n2uq_jax.export.trace.ranges import Range
from n2uq_jax.primitives import POINTWISE

OPSET = 21
"""The first with integers of 4 bits; a model with some of 2 bits says 25."""


def to_onnx(program: IntegerProgram, *, codes: bool = False) -> bytes:
    """Converts a program to ONNX.

    Products multiply bytes; see :mod:`~n2uq_jax.export.formats.onnx.products`. Where a quantizer
    alone reads the sums of a convolution, and the thresholds of each channel span less than a byte,
    these sums are bytes too. All other integers are int32. Nothing integer depends on how a
    processor rounds. The float rest rounds as the runtime does.

    Args:
      program: the integer program.
      codes: return also the codes of every quantizer, under its name.

    Returns:
      The serialised model: ``images``, of the program's dtype and shape
      ``(batch, height, width, channels)``, to ``logits``.

    Raises:
      NotInOnnx: if the network's float part uses an operation that has no counterpart here.
    """
    builder = _Builder(program)
    live = {value for op in builder.ops for value in op.outputs}
    quantizers = [q for q in builder.network.quantizers if q.codes in live]
    model = builder.model(outputs={q.name: q.codes for q in quantizers} if codes else {})
    checker.check_model(model)
    return model.SerializeToString()


class _Builder(OnnxBuilder):
    """Integers in integer types: codes uint8 or int8, what is wider int32."""

    def __init__(self, program: IntegerProgram):
        super().__init__(program, OPSET)
        self._names: dict[Value, str] = {self.images: "images"}
        self._waiting: dict[Value, tuple[Codes, np.ndarray, Product]] = {}
        self._compared: dict[Value, tuple[str, Comparisons, Range]] = {}
        self._pooled: set[Value] = set()
        self._chains: dict[Op, PooledChain] = {}
        for chain in pooled_chains(self):
            self._chains |= dict.fromkeys([*chain.ops, chain.pool], chain)

    def code_type(self, value: Value) -> int:
        if value.aval.dtype == np.bool_:
            return TensorProto.BOOL
        low, high = self.network.ranges[value].bounds
        if low >= 0 and high <= 255:
            return TensorProto.UINT8
        return TensorProto.INT8 if low >= -128 and high <= 127 else TensorProto.INT32

    def codes(self, value: Value) -> str:
        return self._names[value]

    def floats(self, value: Value) -> str:
        return self._as(value, TensorProto.FLOAT)

    def int32(self, value: Value) -> str:
        return self._as(value, TensorProto.INT32)

    def hold_floats(self, value: Value, name: str) -> None:
        self._names[value] = name
        if value in self.network.ranges and value.aval.dtype != np.bool_:
            self._names[value] = self.graph.cast(name, self.code_type(value))

    def hold_int32(self, value: Value, name: str) -> None:
        kind = self.code_type(value)
        held_so = kind in (TensorProto.INT32, TensorProto.BOOL)
        self._names[value] = name if held_so else self.graph.cast(name, kind)

    def _as(self, value: Value, kind: int) -> str:
        held = self._names[value]
        if value not in self.network.ranges or self.code_type(value) in (kind, TensorProto.BOOL):
            return held
        return self.graph.cast(held, kind)

    def apply_thresholds(self, quantizer: Quantizer, source: Source) -> None:
        value = source.value
        if value in self._compared:
            name, comparisons, held = self._compared[value]
        else:
            comparisons = Comparisons.of(self.program.thresholds[quantizer.name])
            name, held = self.int32(value), source.range
        codes = add_codes(self.graph, name, comparisons, held, value.shape, quantizer.name)
        if quantizer.codes.shape != value.shape:
            codes = self.graph.reshape(codes, quantizer.codes.shape)
        self._names[quantizer.codes] = codes

    def multiply(self, product: Product) -> None:
        value, out = product.op.inputs[0], product.accumulator
        weight = self.arrays[product.weight]
        held = self.network.ranges[value]
        x = Codes(self._names[value], self.code_type(value), value.shape, held)
        quantizer = self.sole_quantizer(out)
        if quantizer is not None:
            self._compare(product, x, weight, quantizer)
            return
        if any(chain.start is out for chain in self._chains.values()):
            # Not before it is known which channels the pool wants negated.
            self._waiting[out] = (x, weight, product)
        else:
            sums, rest = add_product(self.graph, x, weight, product)
            self.hold_int32(out, self._by_channel("Add", sums, rest, out.shape))

    def _compare(
        self, product: Product, x: Codes, weight: np.ndarray, quantizer: Quantizer
    ) -> None:
        """Adds a product whose sums are compared with thresholds, and nothing else."""
        comparisons = Comparisons.of(self.program.thresholds[quantizer.name])
        if weight.min() > np.iinfo(weight.dtype).min:
            signs = comparisons.signs
            comparisons = comparisons.of_negated(signs)
            weight = weight * signs.astype(weight.dtype)
        held = product.accumulator_range(weight)
        moved = comparisons.in_a_byte(held) if can_saturate(x, weight, product) else None
        if moved is not None:
            bias, comparisons = moved
            sums = add_saturating(self.graph, x.name, weight, bias, product)
        else:
            sums, rest = add_product(self.graph, x, weight, product)
            comparisons = comparisons.of_moved(rest)
            held = Range(held.low - rest, held.high - rest)
        self._compared[product.accumulator] = sums, comparisons, held

    def integers(self, op: Op) -> None:
        chain = self._chains.get(op)
        if chain is None:
            self._integers(op)
        elif op is chain.pool:
            self._pool_first(chain)

    def _integers(self, op: Op) -> None:
        if op.name == "clamp" and self._is_inside(op):
            self.hold_int32(op.outputs[0], self.int32(op.inputs[1]))
        elif op.name == "shift_right_arithmetic" and self._shift(op):
            return
        elif op.name == "select_n" and not any(map(self._is_given, op.inputs)):
            self._select(op)
        else:
            super().integers(op)

    def _is_inside(self, op: Op) -> bool:
        """Whether a clamp changes nothing."""
        low, x, high = op.inputs
        if not (self._is_given(low) and self._is_given(high)) or self._is_given(x):
            return False
        bounds = self.network.ranges[x].bounds
        return self.array(low).max() <= bounds[0] and bounds[1] <= self.array(high).min()

    def _shift(self, op: Op) -> bool:
        """Shifts what an addition in front of it moved to where nothing is negative, if it can."""
        sums, by = op.inputs
        added = self.network.graph.producer.get(sums)
        if added is None or added.name != "add" or not self._is_given(by):
            return False
        data = [value for value in added.inputs if not self._is_given(value)]
        if len(data) != 1 or len(data[0].shape) != len(sums.shape):
            return False
        (number,) = (self.array(value) for value in added.inputs if value is not data[0])
        step = np.int64(1) << self.array(by).astype(np.int64)
        held = self.network.ranges[sums]
        offset = np.maximum(-(held.low // step), 0) * step
        if (held.high + offset > np.iinfo(np.int32).max).any():
            return False
        graph, constant = self.graph, functools.partial(self.constant, op=op)
        moved = constant((number + offset).astype(np.int32))
        positive = graph.node("Add", [self.int32(data[0]), moved])
        shift = constant(self.array(by).astype(np.uint32))
        shifted = graph.node(
            "BitShift", [graph.cast(positive, TensorProto.UINT32), shift], direction="RIGHT"
        )
        result = graph.cast(shifted, TensorProto.INT32)
        if offset.any():
            back = constant((offset // step).astype(np.int32))
            result = graph.node("Sub", [result, back])
        self.hold_int32(op.outputs[0], result)
        return True

    def _select(self, op: Op) -> None:
        """Chooses between integers by arithmetic, which is several times faster than Where."""
        which, *cases = op.inputs
        if len(cases) != 2 or any(self.network.ranges[v].largest >= 2**30 for v in cases):
            super().integers(op)
            return
        zero, one = (self.int32(value) for value in cases)
        given = lambda v: self.array(v) if self._is_given(v) else None  # noqa: E731
        if operator := extremum(op, self.network.graph, given):
            self.hold_int32(op.outputs[0], self.graph.node(operator, [zero, one]))
            return
        # Through bytes: the runtime converts truth values to int32 one by one.
        bytes_ = self.graph.cast(self._names[which], TensorProto.UINT8)
        difference = self.graph.node("Sub", [one, zero])
        taken = self.graph.node("Mul", [difference, self.graph.cast(bytes_, TensorProto.INT32)])
        self.hold_int32(op.outputs[0], self.graph.node("Add", [zero, taken]))

    def _pool_first(self, chain: PooledChain) -> None:
        """Adds a max-pool, and only then the arithmetic whose results it pools."""
        start, pool = chain.start, chain.pool
        x, weight, product = self._waiting.pop(start)
        signs = chain.signs(self.arrays)
        if signs is None or weight.min() == np.iinfo(weight.dtype).min:
            sums, rest = add_product(self.graph, x, weight, product)
            self._names[start] = self._by_channel("Add", sums, rest, start.shape)
            for op in [*chain.ops, pool]:
                self._integers(op)
            return
        sums, rest = add_product(self.graph, x, weight * signs.astype(weight.dtype), product)
        sums = add_integer_operation(self.graph, pool, [sums], [None], self.graph.constant)
        self._names[start] = self._by_channel("Mul", self._by_channel("Add", sums, rest), signs)
        self._pooled.update(op.outputs[0] for op in chain.ops)
        for op in chain.ops:
            self._integers(op)
        self._names[pool.outputs[0]] = self._names[pool.inputs[0]]

    def _by_channel(self, operator: str, x: str, numbers: np.ndarray, shape=()) -> str:
        """Adds to channels, or multiplies them, unless nothing would change."""
        if (numbers == (operator == "Mul")).all():
            return x
        return self.graph.node(operator, [x, self.graph.row(numbers, row_length(shape))])

    def constant(self, array: np.ndarray, op: Op) -> str:
        out = op.outputs[0]
        if op.name not in POINTWISE or not array.shape:
            return self.graph.constant(array)
        if array.size == 1:
            return self.graph.constant(array.reshape(()))
        if array.shape[-1] != array.size or array.size != out.shape[-1]:
            return self.graph.constant(array)
        # Pools have their channels first, and ONNX Runtime leaves them there behind it.
        width = None if out in self._pooled else row_length(out.shape)
        return self.graph.row(array.reshape(-1), width)
