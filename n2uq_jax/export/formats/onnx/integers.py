"""``model.onnx``: the program in standard ONNX operators, for ONNX Runtime."""

import itertools

import numpy as np
from onnx import TensorProto, checker

from n2uq_jax.export.formats.onnx.builder import NotInOnnx, OnnxBuilder
from n2uq_jax.export.program.program import IntegerProgram
from n2uq_jax.export.trace.graph import Op, Value
from n2uq_jax.export.trace.network import Quantizer, Source
from n2uq_jax.export.trace.primitives import IDENTITIES
from n2uq_jax.export.trace.products import Product

_SATURATION = 2**15 - 1
"""Without VNNI, x86 adds pairs of 8-bit products in saturating 16 bits."""


def to_onnx(program: IntegerProgram, *, codes: bool = False) -> bytes:
    """Converts a program to ONNX.

    A convolution of codes is a MatMulInteger of uint8 patches and int8 weights, since ONNX
    Runtime's ConvInteger is several times slower; a depthwise one is a sum of int32 products.
    Thresholds are comparisons of int32 accumulators. The float rest rounds as the runtime does.

    Args:
      program: the integer program.
      codes: return also the codes of every quantizer, under its name.

    Returns:
      The serialised model: ``images``, float32 of shape ``(batch, height, width, channels)``, to
      ``logits``.

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
    """Integers in integer types: codes uint8 or int8, accumulators int32."""

    def __init__(self, program: IntegerProgram):
        super().__init__(program)
        self._as_floats: dict[Value, str] = {}

    def code_type(self, value: Value) -> int:
        low, high = self.network.ranges[value].bounds
        if low >= 0 and high <= 255:
            return TensorProto.UINT8
        return TensorProto.INT8 if low >= -128 and high <= 127 else TensorProto.INT32

    def floats(self, value: Value) -> str:
        if value not in self.network.ranges:
            return self.names[value]
        if value not in self._as_floats:
            self._as_floats[value] = self.node("Cast", [self.names[value]], to=TensorProto.FLOAT)
        return self._as_floats[value]

    def compute(self, op: Op) -> None:
        super().compute(op)
        if op.is_quantizer:
            floats = self.names[op.outputs[0]]
            kind = self.code_type(op.outputs[0])
            self.names[op.outputs[0]] = self.node("Cast", [floats], to=kind)

    def integers(self, op: Op) -> None:
        out = op.outputs[0]
        kind = self.code_type(out)
        inputs = []
        for value in op.inputs:
            if value.constant is not None:
                inputs.append(self.constant(np.asarray(value.constant).astype(np.int32)))
            else:
                inputs.append(self.node("Cast", [self.names[value]], to=TensorProto.INT32))
        operators = {"add": "Add", "sub": "Sub", "mul": "Mul", "neg": "Neg"}
        if op.name in operators:
            result = self.node(operators[op.name], inputs)
        elif op.name in IDENTITIES or op.name == "convert_element_type":
            result = inputs[0]
        else:
            result = self.move_node(op, inputs)
        self.names[out] = self.node("Cast", [result], to=kind)

    def apply_thresholds(self, quantizer: Quantizer, source: Source) -> None:
        thresholds = self.program.thresholds[quantizer.name]
        points, steps, base = (
            array.astype(np.int32)
            for array in (thresholds.points, thresholds.steps, thresholds.base)
        )
        sums = self.names[source.value]
        if thresholds.is_monotone:
            # acc <= p, the code of a decreasing channel, is -acc > -p - 1.
            sign = steps[:, 0]
            if (sign < 0).any():
                sums = self.node("Mul", [sums, self.constant(sign)])
            points = np.where(sign[:, None] > 0, points, -points - 1)
            steps, base = np.ones_like(steps), np.zeros_like(base)
        total = self.constant(base) if base.any() else ""
        for point, step in zip(points.T, steps.T, strict=True):
            above = self.node("Greater", [sums, self.constant(point)])
            counted = self.node("Cast", [above], to=TensorProto.INT32)
            if (step != 1).any():
                counted = self.node("Mul", [counted, self.constant(step)])
            total = self.node("Add", [total, counted]) if total else counted
        out = quantizer.codes
        codes = self.node("Cast", [total], to=self.code_type(out), hint=quantizer.name)
        if out.shape != source.value.shape:
            codes = self.reshape(codes, out.shape)
        self.names[out] = codes

    def multiply(self, product: Product) -> None:
        x = self.names[product.op.inputs[0]]
        weight = self.arrays[product.weight]
        assert product.codes is not None
        if product.bilinear.name == "dot_general":
            sums = self._matmul_integer(x, weight, product)
        else:
            sums = self._convolve(x, weight, product)
        self.names[product.accumulator] = sums

    def _convolve(self, x: str, weight: np.ndarray, product: Product) -> str:
        params = product.bilinear.params
        groups, channels = params["feature_group_count"], product.op.inputs[0].shape[-1]
        if set(params["lhs_dilation"]) != {1}:
            raise NotInOnnx(f"ONNX export does not know the transposed {product.name}.")
        patches = self._patches(x, product)
        taps = weight.reshape(-1, *weight.shape[-2:])  # (taps, in / groups, out)
        if groups == channels == weight.shape[-1]:
            total = None
            for patch, row in zip(patches, taps, strict=True):
                wide = self.node("Cast", [patch], to=TensorProto.INT32)
                term = self.node("Mul", [wide, self.constant(row[0].astype(np.int32))])
                total = term if total is None else self.node("Add", [total, term])
            assert total is not None
            return total
        if groups == 1:
            joined = self._join(patches)
            return self._matmul_integer(joined, weight.reshape(-1, weight.shape[-1]), product)
        inside, outside = channels // groups, weight.shape[-1] // groups
        shape = product.accumulator.shape[:-1]
        results = []
        for g in range(groups):
            start = [0] * len(shape) + [g * inside]
            limit = [*shape, (g + 1) * inside]
            parts = [self.slice(p, start, limit, None, (*shape, channels)) for p in patches]
            kernel = taps[:, :, g * outside : (g + 1) * outside].reshape(-1, outside)
            results.append(self._matmul_integer(self._join(parts), kernel, product))
        return self.node("Concat", results, axis=-1)

    def _join(self, patches: list[str]) -> str:
        return patches[0] if len(patches) == 1 else self.node("Concat", patches, axis=-1)

    def _patches(self, x: str, product: Product) -> list[str]:
        """Returns, for each tap of the window, the codes that it meets at every position."""
        params = product.bilinear.params
        padding, strides = params["padding"], params["window_strides"]
        value, weight = product.op.inputs
        shape, out = value.shape, product.accumulator.shape
        if any(p != (0, 0) for p in padding):
            low, high = zip((0, 0), *padding, (0, 0), strict=True)
            amounts = self.constant(np.asarray([*low, *high], np.int64))
            x = self.node("Pad", [x, amounts])
        padded = [size + a + b for size, (a, b) in zip(shape[1:-1], padding, strict=True)]
        whole = [0, *padded, shape[-1]]
        patches = []
        for tap in itertools.product(*map(range, weight.shape[:-2])):
            start = [i * d for i, d in zip(tap, params["rhs_dilation"], strict=True)]
            limit = [
                first + (n - 1) * stride + 1
                for first, n, stride in zip(start, out[1:-1], strides, strict=True)
            ]
            ends = [0, *limit, shape[-1]]
            patches.append(self.slice(x, [0, *start, 0], ends, [1, *strides, 1], whole))
        return patches

    def _matmul_integer(self, x: str, matrix: np.ndarray, product: Product) -> str:
        """Multiplies codes by a matrix of weight codes, exactly."""
        assert product.codes is not None
        largest = product.codes.largest
        narrow = matrix.dtype == np.int8 and largest <= 255
        if not narrow or 2 * largest * int(np.abs(matrix.astype(int)).max()) > _SATURATION:
            wide = self.node("Cast", [x], to=TensorProto.INT32)
            return self.node("MatMul", [wide, self.constant(matrix.astype(np.int32), product.name)])
        return self.node("MatMulInteger", [x, self.constant(matrix, product.name)])
