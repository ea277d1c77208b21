"""What a trace is made of: products of codes, quantizers, and the float arithmetic in between."""

import dataclasses
import os.path
from collections.abc import Collection, Iterable
from typing import Literal

import numpy as np

from n2uq_jax.export.trace.graph import Graph, Op, Value

Range = tuple[int, int]
"""The smallest and the largest integer that a value can be."""

POINTWISE = frozenset({
    "abs", "add", "and", "ceil", "clamp", "convert_element_type", "copy", "cos", "div", "eq",
    "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "floor", "ge", "gt", "integer_pow",
    "is_finite", "le", "log", "log1p", "logistic", "lt", "max", "min", "mul", "name", "ne",
    "neg", "nextafter", "not", "optimization_barrier", "or", "pow", "reduce_precision", "rem",
    "round", "rsqrt", "select_n", "sign", "sin", "sqrt", "square", "stop_gradient", "sub",
    "tanh", "xor",
})  # fmt: skip
"""Primitives whose result depends, element by element, on the same element of the operands."""

RESHAPES = frozenset({"reshape", "squeeze", "expand_dims"})

MOVES = RESHAPES | {
    "broadcast_in_dim", "concatenate", "copy", "convert_element_type", "name",
    "optimization_barrier", "pad", "rev", "slice", "stop_gradient", "transpose",
}  # fmt: skip
"""Primitives that only move elements, or leave them as they are."""

AFFINE = frozenset({"add", "sub", "mul", "neg"})


@dataclasses.dataclass(eq=False)
class Product:
    """A product of codes: a convolution or a matrix product.

    Args:
      name: path of the layer.
      op: the operation; its operands are the activations and the weight codes.
      bilinear: the convolution or matrix product in it.
      codes: range of the activation codes; None if the product does not run on integers.
      reason: why it does not.
    """

    name: str
    op: Op
    bilinear: Op
    codes: Range | None
    reason: str | None

    @property
    def weight(self) -> Value:
        """The weight codes."""
        return self.op.inputs[1]

    @property
    def accumulator(self) -> Value:
        """The sums."""
        return self.op.outputs[0]

    @property
    def pads(self) -> bool:
        """Whether some sums have fewer terms than others, at the border of an image."""
        padding = self.bilinear.params.get("padding", ())
        dilation = self.bilinear.params.get("lhs_dilation", ())
        return any(p != (0, 0) for p in padding) or any(d != 1 for d in dilation)

    def accumulator_range(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the smallest and the largest possible sum of each output channel.

        Args:
          weight: integer codes with output channels last.

        Returns:
          Two int64 arrays of shape ``(out,)``.
        """
        assert self.codes is not None
        low, high = self.codes
        if self.pads:
            low, high = min(low, 0), max(high, 0)
        weight = weight.astype(np.int64).reshape(-1, weight.shape[-1])
        ends = weight * low, weight * high
        return np.minimum(*ends).sum(0), np.maximum(*ends).sum(0)


@dataclasses.dataclass(eq=False)
class Quantizer:
    """An activation quantizer, and what it reads.

    Args:
      name: path of the layer.
      op: the operation; its first operand is what it quantizes.
      product: the one product whose sums decide its codes, pointwise; else None.
      chain: the float operations from those sums to the codes.
      reason: why there is no such product.
    """

    name: str
    op: Op
    product: Product | None
    chain: list[Op]
    reason: str | None

    @property
    def codes(self) -> Value:
        """The codes."""
        return self.op.outputs[0]

    @property
    def levels(self) -> int:
        """Number of thresholds."""
        assert self.op.levels is not None
        return self.op.levels


class TracedNetwork:
    """A trace, understood.

    Args:
      graph: the trace.

    Attributes:
      ranges: of every value that holds integers.
      products: every product of codes, in order.
      quantizers: every activation quantizer, in order.
      segments: for each operation, the one that ends its arithmetic chain: a product, a quantizer
        or a barrier; or the string ``"outputs"``.
      shared: float values that several of the arithmetic chains read, although the model does not
        isolate them; a compiler may round them differently for each reader.
      constants: by name, the values that do not depend on the data and that everything else is
        computed from: parameters, weight codes, and whatever the model isolates, such as scales.
    """

    def __init__(self, graph: Graph):
        self.graph = graph
        self.ranges: dict[Value, Range] = {}
        self.products: list[Product] = []
        self.quantizers: list[Quantizer] = []
        names: set[str] = set()
        for op in graph.ops:
            if op.is_product:
                name = self._name(op.inputs[1:], "product", names)
                self._add_product(name, op)
            elif op.is_quantizer:
                name = self._name(op.inputs[1:], "quantizer", names)
                self._add_quantizer(name, op)
            else:
                self._add_range(op)
        self.segments, self.shared = _segments(graph, self.ranges)
        self.constants = self._constants()

    def _name(self, values: Iterable[Value], kind: str, taken: set[str]) -> str:
        return unique(self._folder(values) or kind, taken)

    def _folder(self, values: Iterable[Value]) -> str:
        folders = [os.path.dirname(path) for path in self.graph.parameters_behind(values)]
        return os.path.commonpath(folders) if folders else ""

    def _add_product(self, name: str, op: Op) -> None:
        (bilinear,) = [o for o in op.body if o.name in ("conv_general_dilated", "dot_general")]
        x, weight = op.inputs
        reason = None
        if x not in self.ranges:
            reason = "its activations are not integer codes"
        elif weight in self.graph.from_data:
            reason = "its weights depend on the images"
        elif not _channels_last(bilinear):
            reason = "its output channels are not on the last axis"
        codes = None if reason else self.ranges[x]
        product = Product(name, op, bilinear, codes, reason)
        self.products.append(product)

    def _add_quantizer(self, name: str, op: Op) -> None:
        assert op.levels is not None
        self.ranges[op.outputs[0]] = (0, op.levels)
        sums = {product.accumulator: product for product in self.products}
        chain, sources = self._chain(op.inputs[0], stop=[*sums, *self.ranges])
        reason = self._why_not_pointwise(op, chain, sources, sums)
        product = None if reason else sums[sources.pop()]
        self.quantizers.append(Quantizer(name, op, product, [*chain, op], reason))

    def _constants(self) -> dict[str, Value]:
        constants = dict(self.graph.parameters)
        taken = set(constants)
        for product in self.products:
            if product.weight not in self.graph.from_data:
                constants[unique(f"{product.name}/weight", taken)] = product.weight
        # The last barrier is the one in front of the data, so it gets the plain name.
        for op in reversed(self.graph.ops):
            if op.name == "optimization_barrier":
                for value in op.outputs:
                    if value not in self.graph.from_data:
                        folder = self._folder([value])
                        constants[unique(os.path.join(folder, "scale"), taken)] = value
        return constants

    def _chain(self, value: Value, stop: list[Value]) -> tuple[list[Op], set[Value]]:
        """Returns the operations on data between ``stop`` and a value, and what they start from."""
        graph = self.graph
        ends = {*stop, *graph.inputs}
        if value in ends:
            return [], {value}
        ops = [
            op
            for op in graph.ancestors([value], stop=ends)
            if any(v in graph.from_data for v in op.outputs)
        ]
        return ops, {v for op in ops for v in op.inputs if v in ends and v in graph.from_data}

    def _why_not_pointwise(self, quantizer, chain, sources, sums) -> str | None:
        if any(v in self.graph.from_data for v in quantizer.inputs[1:]):
            return "its parameters depend on the images"
        if len(sources) != 1:
            return f"reads {len(sources)} values together, as a residual sum does"
        if any(v in self.graph.inputs for v in sources):
            return "reads the images through float layers"
        if any(v not in sums for v in sources):
            return "reads the codes of another quantizer"
        (source,) = sources
        if sums[source].codes is None:
            return f"reads {sums[source].name}: {sums[source].reason}"
        for op in [*chain, quantizer]:
            if not self._is_channelwise(op, source.shape[-1]):
                return f"reads through {op.name}, which is not channelwise"
        return None

    def _is_channelwise(self, op: Op, channels: int) -> bool:
        """Whether each result depends on one element of the data and on its channel alone."""
        data = [v for v in op.inputs if v in self.graph.from_data]
        if op.outputs[0].shape[-1:] != (channels,) or len(op.outputs) != 1:
            return False
        if op.name in RESHAPES:
            return data[0].shape[-1:] == (channels,)
        if any(v.shape != op.outputs[0].shape for v in data):
            return False
        if op.is_quantizer:
            return True
        return op.name in POINTWISE and all(
            self._is_per_channel(v) for v in op.inputs if v not in data
        )

    def _is_per_channel(self, value: Value) -> bool:
        """Whether a value computed from parameters is the same at every position."""
        if all(d == 1 for d in value.shape[:-1]):
            return True
        op = self.graph.producer.get(value)
        if op is None:
            return False
        if op.name == "broadcast_in_dim":
            last = len(value.shape) - 1
            moved = zip(op.inputs[0].shape, op.params["broadcast_dimensions"], strict=True)
            return all(size == 1 or axis == last for size, axis in moved)
        return op.name in POINTWISE and all(self._is_per_channel(v) for v in op.inputs)

    def _add_range(self, op: Op) -> None:
        """Follows integers through operations that keep them exact."""
        if op.name not in MOVES | AFFINE or len(op.outputs) != 1:
            return
        if not any(v in self.ranges for v in op.inputs):
            return
        if op.outputs[0].aval.dtype == np.bool_:
            return
        operands = [self.ranges.get(v) or _integer(v) for v in op.inputs]
        if any(r is None for r in operands):
            return
        self.ranges[op.outputs[0]] = _range(op.name, [r for r in operands if r is not None])

    def live(self, folded: Collection[str] = ()) -> tuple[list[Op], dict[str, Value]]:
        """Returns what has to be computed for the outputs.

        Args:
          folded: names of quantizers whose codes come straight from their accumulators.

        Returns:
          Operations in order, and the constants that they read, by name.
        """
        named = {value: name for name, value in self.constants.items()}
        sources = {
            quantizer.op: [quantizer.product.accumulator]
            for quantizer in self.quantizers
            if quantizer.name in folded and quantizer.product is not None
        }
        pending, found = list(self.graph.outputs), set()
        used: dict[str, Value] = {}
        while pending:
            value = pending.pop()
            op = self.graph.producer.get(value)
            if value in named:
                used[named[value]] = value
            elif op is not None and op not in found:
                found.add(op)
                pending.extend(sources.get(op, op.inputs))
        return [op for op in self.graph.ops if op in found], dict(sorted(used.items()))


def unique(name: str, taken: set[str]) -> str:
    """Returns a name that is not taken, by numbering it, and takes it."""
    number, candidate = 2, name
    while candidate in taken:
        number, candidate = number + 1, f"{name}#{number}"
    taken.add(candidate)
    return candidate


def _channels_last(bilinear: Op) -> bool:
    dims = bilinear.params["dimension_numbers"]
    rank = len(bilinear.outputs[0].shape)
    if bilinear.name == "dot_general":
        (left, right), batch = dims
        return batch == ((), ()) and tuple(left) == (rank - 1,) and tuple(right) == (0,)
    last = dims.out_spec[1], dims.lhs_spec[1], dims.rhs_spec[0]
    return last == (rank - 1,) * 3 and bilinear.params["batch_group_count"] == 1


def _integer(value: Value) -> Range | None:
    """Returns the range of a constant, if it is one integer."""
    if value.constant is None or np.size(value.constant) != 1:
        return None
    number = float(np.asarray(value.constant).reshape(()))
    return (int(number), int(number)) if number.is_integer() else None


def _range(name: str, operands: list[Range]) -> Range:
    if name == "neg":
        return -operands[0][1], -operands[0][0]
    if name in AFFINE:
        (a, b), (c, d) = operands
        ends = {
            "add": (a + c, b + d),
            "sub": (a - d, b - c),
            "mul": (a * c, a * d, b * c, b * d),
        }[name]
        return min(ends), max(ends)
    return min(r[0] for r in operands), max(r[1] for r in operands)


def _segments(
    graph: Graph, ranges: dict[Value, Range]
) -> tuple[dict[Op, Op | Literal["outputs"]], set[Value]]:
    """Cuts the trace into chains, and finds what several read although nothing isolates it."""
    readers = graph.consumers()
    chain: dict[Op, Op | Literal["outputs"]] = {}
    shared: set[Value] = set()
    for op in reversed(graph.ops):
        results = [v for v in op.outputs if v in graph.from_data]
        is_end = op.primitive is None or op.name == "optimization_barrier"
        ends: set[Op | Literal["outputs"]] = {
            chain[reader] for v in results for reader in readers.get(v, [])
        }
        if any(v in graph.outputs for v in results):
            ends.add("outputs")
        chain[op] = next(iter(ends)) if len(ends) == 1 and not is_end else op
        if len(ends) > 1 and not is_end and not any(v in ranges for v in results):
            shared.update(results)
    return chain, shared
