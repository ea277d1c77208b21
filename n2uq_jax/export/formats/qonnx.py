"""``model.qonnx.onnx``: the program in QONNX, in the conventions that FINN reads."""

import jax.numpy as jnp
import numpy as np
from onnx import TensorProto

from n2uq_jax.export.formats.onnx.builder import OnnxBuilder
from n2uq_jax.export.formats.onnx.graph import NotInOnnx
from n2uq_jax.export.program.program import IntegerProgram
from n2uq_jax.export.trace.graph import Op, Value
from n2uq_jax.export.trace.products import Product
from n2uq_jax.export.trace.quantizer import Quantizer, Source
from n2uq_jax.export.trace.ranges import exact, is_integer
from n2uq_jax.quantizers import thresholds

DOMAIN = "qonnx.custom_op.general"
OPSET = 17


def to_qonnx(program: IntegerProgram, *, batch_size: int = 1, codes: bool = False) -> bytes:
    """Converts a program to QONNX.

    Integers are held in float32, as QONNX does. A product is a ``Conv`` or ``MatMul`` on weights
    that pass a ``Quant`` of scale 1; codes come out of a ``MultiThreshold``, which counts
    ``x >= T``, so an integer threshold ``x > t`` becomes ``T = t + 1``. Where a channel decreases,
    its weights are negated. Convolutions and thresholds have channels first.

    Args:
      program: the integer program.
      batch_size: of the model's input; QONNX and FINN want a number.
      codes: return also the codes of every quantizer, under its name, channels last.

    Returns:
      The serialised model: ``images``, float32 of shape ``(batch_size, height, width, channels)``,
      to ``logits``.

    Raises:
      NotInOnnx: if the network has an operation without a counterpart, or an accumulator beyond the
        integers of float32.
    """
    builder = _Builder(program, batch_size)
    live = {value for op in builder.ops for value in op.outputs}
    quantizers = [q for q in builder.network.quantizers if q.codes in live]
    outputs = {q.name: q.codes for q in quantizers} if codes else {}
    return builder.model(outputs=outputs, extra_opsets={DOMAIN: 1}).SerializeToString()


class _Builder(OnnxBuilder):
    """Codes and sums in float32, channels first, last, or both; other integers in int32."""

    def __init__(self, program: IntegerProgram, batch_size: int):
        super().__init__(program, OPSET, batch_size)
        self._floats: dict[Value, str] = {}
        self._first: dict[Value, str] = {}
        self._int32: dict[Value, str] = {}
        if is_integer(self.images):
            self._int32[self.images] = self.graph.cast("images", TensorProto.INT32)
        else:
            self._floats[self.images] = "images"
        self._signs = self._signs_of_products()

    def code_type(self, value: Value) -> int:
        return TensorProto.FLOAT

    def codes(self, value: Value) -> str:
        return self.floats(value)

    def floats(self, value: Value) -> str:
        if value not in self._floats:
            if value in self._first:
                held = self.graph.channels_last(self._first[value], len(value.shape))
            else:
                held = self.graph.cast(self._int32[value], TensorProto.FLOAT)
            self._floats[value] = held
        return self._floats[value]

    def int32(self, value: Value) -> str:
        if value.aval.dtype == np.bool_:
            return self.floats(value)
        if value not in self._int32:
            self._int32[value] = self.graph.cast(self.floats(value), TensorProto.INT32)
        return self._int32[value]

    def hold_floats(self, value: Value, name: str) -> None:
        if is_integer(value):
            self._int32[value] = self.graph.cast(name, TensorProto.INT32)
        else:
            self._floats[value] = name

    def hold_int32(self, value: Value, name: str) -> None:
        held = self._floats if value.aval.dtype == np.bool_ else self._int32
        held[value] = name

    def _floats_first(self, value: Value) -> str:
        if value not in self._first:
            self._first[value] = self.graph.channels_first(self.floats(value), len(value.shape))
        return self._first[value]

    def _signs_of_products(self) -> dict[Value, np.ndarray]:
        """Returns, for accumulators that one quantizer alone reads, -1 where a channel falls."""
        signs = {}
        for value in (product.accumulator for product in self.network.products):
            quantizer = self.sole_quantizer(value)
            if quantizer is not None:
                read_off = self.program.thresholds[quantizer.name]
                if read_off.is_monotone:
                    signs[value] = read_off.steps[:, 0].astype(np.float32)
        return signs

    def multiply(self, product: Product) -> None:
        weight = self.arrays[product.weight].astype(np.float32)
        self._check_exact(product.accumulator, product.name)
        weight = weight * self._signs.get(product.accumulator, np.float32(1))
        x, out = product.op.inputs[0], product.accumulator
        if product.bilinear.name == "dot_general":
            self._floats[out] = self.graph.node("MatMul", [self.floats(x), self._quantized(weight)])
            return
        params = product.bilinear.params
        if set(params["lhs_dilation"]) != {1}:
            raise NotInOnnx(f"QONNX export does not know the transposed {product.name}.")
        kernel = self._quantized(weight.transpose(params["dimension_numbers"].rhs_spec))
        before, after = zip(*params["padding"], strict=True)
        self._first[out] = self.graph.node(
            "Conv",
            [self._floats_first(x), kernel],
            hint=product.name,
            kernel_shape=list(weight.shape[:-2]),
            strides=list(params["window_strides"]),
            dilations=list(params["rhs_dilation"]),
            pads=[*before, *after],
            group=params["feature_group_count"],
        )

    def _quantized(self, weight: np.ndarray) -> str:
        """Adds weight codes as a Quant node: odd integers take a bit more in two's complement."""
        bits = int(np.abs(weight).max()).bit_length() + 1
        scalars = [self.graph.constant(np.float32(v)) for v in (1, 0, bits)]
        return self.graph.node(
            "Quant",
            [self.graph.constant(weight, "weight"), *scalars],
            domain=DOMAIN,
            signed=1,
            narrow=0,
            rounding_mode="ROUND",
        )

    def apply_thresholds(self, quantizer: Quantizer, source: Source) -> None:
        read_off = self.program.thresholds[quantizer.name]
        points, steps, base = (
            array.astype(np.int64) for array in (read_off.points, read_off.steps, read_off.base)
        )
        sums, out = source.value, quantizer.codes
        self._check_exact(sums, source.name)
        rank = len(sums.shape)
        x = self._floats_first(sums)
        if read_off.is_monotone:
            sign = steps[:, 0]
            if sums not in self._signs and (sign < 0).any():
                x = self.graph.node("Mul", [x, self._per_channel(sign, rank)])
            # acc <= p, the code of a decreasing channel, is -acc >= -p.
            at_least = np.sort(np.where(sign[:, None] > 0, points + 1, -points), axis=1)
            codes = self._multi_threshold(x, at_least, quantizer.max_code, rank)
        else:
            codes = self.graph.node(
                "Add",
                [
                    self.graph.node(
                        "Sub",
                        [
                            self._multi_threshold(x, _repeated(points + 1, steps), 255, rank),
                            self._multi_threshold(x, _repeated(points + 1, -steps), 255, rank),
                        ],
                    ),
                    self._per_channel(base, rank),
                ],
            )
        if out.shape == sums.shape:
            self._first[out] = codes
        else:
            self._floats[out] = self.graph.reshape(self.graph.channels_last(codes, rank), out.shape)

    def _multi_threshold(self, x: str, at_least: np.ndarray, largest: int, rank: int) -> str:
        return self.graph.node(
            "MultiThreshold",
            [x, self.graph.constant(at_least.astype(np.float32), "thresholds")],
            domain=DOMAIN,
            out_dtype=f"UINT{int(largest).bit_length()}",
            data_layout="NCHW" if rank == 4 else "NC",
        )

    def _per_channel(self, values: np.ndarray, rank: int) -> str:
        return self.graph.constant(values.astype(np.float32).reshape(-1, *(1,) * (rank - 2)))

    def compute(self, op: Op) -> None:
        rank = len(op.outputs[0].shape)
        if op.name != "activation_codes" or rank not in (2, 4):
            super().compute(op)
            return
        x, start, intervals, in_scale = op.inputs
        u = self.graph.node("Mul", [self.floats(x), self.graph.constant(self.array(in_scale))])
        edges = np.asarray(thresholds(*(jnp.asarray(self.array(v)) for v in (start, intervals))))
        at_least = np.nextafter(edges, np.float32(np.inf)).reshape(len(edges), -1).T
        first = self.graph.channels_first(u, rank)
        self._first[op.outputs[0]] = self._multi_threshold(first, at_least, len(edges), rank)

    def integers(self, op: Op) -> None:
        # Codes stay floats where the network holds them so; other integers are int32.
        values = [v for v in (*op.inputs, *op.outputs) if v.constant is None]
        if any(is_integer(v) or v.aval.dtype == np.bool_ for v in values):
            super().integers(op)
        else:
            self.compute(op)

    def _check_exact(self, value: Value, name: str) -> None:
        if not self.network.ranges[value].within(exact(np.dtype(np.float32))):
            raise NotInOnnx(f"the accumulators of {name} exceed the integers of float32.")


def _repeated(at_least: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Repeats thresholds as often as their positive steps say; fills up with unreachable ones."""
    rows = [np.repeat(row, np.maximum(step, 0)) for row, step in zip(at_least, steps, strict=True)]
    width = max(1, *(len(row) for row in rows))
    padded = np.full((len(rows), width), 2.0**25)
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
    return padded
