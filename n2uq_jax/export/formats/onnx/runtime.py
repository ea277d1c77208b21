"""``model.onnx``: the program in standard ONNX operators, for ONNX Runtime."""

import itertools

import numpy as np
from onnx import TensorProto, checker

from n2uq_jax.export.formats.onnx.builder import OnnxBuilder
from n2uq_jax.export.formats.onnx.graph import NotInOnnx
from n2uq_jax.export.program.program import IntegerProgram
from n2uq_jax.export.trace.graph import Value
from n2uq_jax.export.trace.products import Product
from n2uq_jax.export.trace.quantizer import Quantizer, Source

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
    """Integers in integer types: codes uint8 or int8, what is wider int32."""

    def __init__(self, program: IntegerProgram):
        super().__init__(program)
        self._names: dict[Value, str] = {self.images: "images"}
        self._cast: dict[tuple[Value, int], str] = {}

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
        if (value, kind) not in self._cast:
            self._cast[value, kind] = self.graph.cast(held, kind)
        return self._cast[value, kind]

    def apply_thresholds(self, quantizer: Quantizer, source: Source) -> None:
        thresholds = self.program.thresholds[quantizer.name]
        points, steps, base = (
            array.astype(np.int32)
            for array in (thresholds.points, thresholds.steps, thresholds.base)
        )
        sums = self.int32(source.value)
        if thresholds.is_monotone:
            # acc <= p, the code of a decreasing channel, is -acc > -p - 1.
            sign = steps[:, 0]
            if (sign < 0).any():
                sums = self.graph.node("Mul", [sums, self.graph.constant(sign)])
            points = np.where(sign[:, None] > 0, points, -points - 1)
            steps, base = np.ones_like(steps), np.zeros_like(base)
        total = self.graph.constant(base) if base.any() else ""
        for point, step in zip(points.T, steps.T, strict=True):
            above = self.graph.node("Greater", [sums, self.graph.constant(point)])
            counted = self.graph.cast(above, TensorProto.INT32)
            if (step != 1).any():
                counted = self.graph.node("Mul", [counted, self.graph.constant(step)])
            total = self.graph.node("Add", [total, counted]) if total else counted
        out = quantizer.codes
        codes = self.graph.node("Cast", [total], to=self.code_type(out), hint=quantizer.name)
        if out.shape != source.value.shape:
            codes = self.graph.reshape(codes, out.shape)
        self._names[out] = codes

    def multiply(self, product: Product) -> None:
        x = self.codes(product.op.inputs[0])
        weight = self.arrays[product.weight]
        assert product.codes is not None
        if product.bilinear.name == "dot_general":
            sums = self._matmul_integer(x, weight, product)
        else:
            sums = self._convolve(x, weight, product)
        self.hold_int32(product.accumulator, sums)

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
                wide = self.graph.cast(patch, TensorProto.INT32)
                term = self.graph.node("Mul", [wide, self.graph.constant(row[0].astype(np.int32))])
                total = term if total is None else self.graph.node("Add", [total, term])
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
            parts = [self.graph.slice(p, start, limit, None, (*shape, channels)) for p in patches]
            kernel = taps[:, :, g * outside : (g + 1) * outside].reshape(-1, outside)
            results.append(self._matmul_integer(self._join(parts), kernel, product))
        return self.graph.node("Concat", results, axis=-1)

    def _join(self, patches: list[str]) -> str:
        return patches[0] if len(patches) == 1 else self.graph.node("Concat", patches, axis=-1)

    def _patches(self, x: str, product: Product) -> list[str]:
        """Returns, for each tap of the window, the codes that it meets at every position."""
        params = product.bilinear.params
        padding, strides = params["padding"], params["window_strides"]
        value, weight = product.op.inputs
        shape, out = value.shape, product.accumulator.shape
        if any(p != (0, 0) for p in padding):
            low, high = zip((0, 0), *padding, (0, 0), strict=True)
            amounts = self.graph.constant(np.asarray([*low, *high], np.int64))
            x = self.graph.node("Pad", [x, amounts])
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
            patches.append(self.graph.slice(x, [0, *start, 0], ends, [1, *strides, 1], whole))
        return patches

    def _matmul_integer(self, x: str, matrix: np.ndarray, product: Product) -> str:
        """Multiplies codes by a matrix of weight codes, exactly."""
        assert product.codes is not None
        largest = product.codes.largest
        bytes_alone = self.code_type(product.op.inputs[0]) != TensorProto.INT32
        narrow = matrix.dtype == np.int8 and bytes_alone
        if not narrow or 2 * largest * int(np.abs(matrix.astype(int)).max()) > _SATURATION:
            wide = self.graph.cast(x, TensorProto.INT32)
            kernel = self.graph.constant(matrix.astype(np.int32), product.name)
            return self.graph.node("MatMul", [wide, kernel])
        return self.graph.node("MatMulInteger", [x, self.graph.constant(matrix, product.name)])
