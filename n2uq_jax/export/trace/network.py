"""A trace, understood: products, quantizers and what they read, integers, and the float rest."""

import os.path
from collections.abc import Collection, Mapping

import numpy as np

from n2uq_jax.export.trace.constants import Names, read_constants, unique
from n2uq_jax.export.trace.graph import Graph, Op, Value
from n2uq_jax.export.trace.overflow import Overflow, find_overflow
from n2uq_jax.export.trace.products import Product, bilinear, channels_last
from n2uq_jax.export.trace.propagation import follow
from n2uq_jax.export.trace.quantizer import Quantizer, Source, is_channelwise
from n2uq_jax.export.trace.ranges import Range, exact, is_integer
from n2uq_jax.export.trace.segments import segments


class TracedNetwork:
    """A trace, understood.

    Args:
      graph: the trace.
      integers: weight codes, and the other constants of an integer dtype, by name; see
        :class:`~n2uq_jax.export.trace.constants.Names`.

    Attributes:
      ranges: of every value that holds integers, whatever its dtype is.
      overflows: integer arithmetic that could wrap around.
      products: every product of codes, in order.
      quantizers: every activation quantizer, in order.
      segments: for each operation, the one that ends its arithmetic chain.
      shared: float values that several of the arithmetic chains read, although the model does not
        isolate them; a compiler may round them differently for each reader.
      constants: by name, the values that do not depend on the data and that everything else is
        computed from.
    """

    def __init__(self, graph: Graph, integers: Mapping[str, np.ndarray]):
        self.graph = graph
        self._names = Names(graph)
        self.constants = self._names.constants
        self.ranges: dict[Value, Range] = {}
        self.overflows: list[Overflow] = []
        self.products: list[Product] = []
        self.quantizers: list[Quantizer] = []
        self._layers: dict[Value, str] = dict.fromkeys(graph.inputs, "images")
        self._sources: dict[Value, Source] = {}
        self._taken: set[str] = set()
        by_value = {self.constants[name]: array for name, array in integers.items()}
        for value in graph.inputs:
            if is_integer(value):
                self.ranges[value] = Range.of_dtype(value.aval.dtype)
        for value, array in by_value.items():
            if is_integer(value):
                self.ranges[value] = Range.of_array(array)
        for op in graph.ops:
            if op in self._names.products:
                self._add_product(op, by_value)
            elif op.is_quantizer:
                self._add_quantizer(op)
            elif op.primitive is not None:
                self._follow(op)
        self.segments, self.shared = segments(graph, self.ranges)

    def _layer(self, value: Value) -> str:
        """Returns the name of the layer that a value comes from."""
        if value not in self._layers:
            op = self.graph.producer.get(value)
            self._layers[value] = "" if op is None else self._layer_of(op)
        return self._layers[value]

    def _layer_of(self, op: Op) -> str:
        if name := self._names.products.get(op) or self._names.quantizers.get(op):
            return name
        data = [v for v in op.inputs if v in self.graph.from_data]
        if folder := self._names.folder(v for v in op.inputs if v not in data):
            return folder
        names = [name for name in dict.fromkeys(map(self._layer, data)) if name]
        if len(names) > 1 and "images" not in names:
            return os.path.join(os.path.commonpath(names), op.name)
        return names[0] if names else op.name

    def _add_product(self, op: Op, integers: Mapping[Value, np.ndarray]) -> None:
        inner = bilinear(op)
        x, weight = op.inputs
        reason = None
        if x not in self.ranges:
            reason = "its activations are not integer codes"
        elif weight in self.graph.from_data:
            reason = "its weights depend on the images"
        elif not channels_last(inner):
            reason = "its output channels are not on the last axis"
        elif weight not in integers:
            reason = "nothing reads it"
        codes = None if reason else self.ranges[x]
        product = Product(self._names.products[op], op, inner, codes, reason)
        if reason is None:
            self.products.append(product)
            sums = product.accumulator_range(integers[weight])
            # The program sums in int32, whatever dtype the network has its sums in.
            held = Range.of_dtype(np.int32)
            self.ranges[product.accumulator] = sums if sums.within(held) else held
            if codes is not None and codes.is_known:
                self._check_overflow(op, sums, held)
        elif op.is_product:
            self.products.append(product)
        else:
            self._follow(op)

    def _add_quantizer(self, op: Op) -> None:
        assert op.max_code is not None
        source, chain, reason = self._source(op)
        self.ranges[op.outputs[0]] = Range.of(0, op.max_code)
        name = self._names.quantizers[op]
        self.quantizers.append(Quantizer(name, op, source, [*chain, op], reason))

    def _follow(self, op: Op) -> None:
        """Follows integers through operations that keep them exact."""
        if len(op.outputs) != 1:
            self.ranges |= {v: Range.of_dtype(v.aval.dtype) for v in op.outputs if is_integer(v)}
            return
        (out,) = op.outputs
        found = follow(op, self.ranges)
        if found.range is not None and out not in self.ranges:
            self.ranges[out] = found.range
        if found.overflow is not None and out in self.graph.from_data:
            self._check_overflow(op, found.overflow, Range.of_dtype(out.aval.dtype))

    def _check_overflow(self, op: Op, needed: Range, held: Range) -> None:
        found = find_overflow(op, needed, held, self._layer(op.outputs[0]))
        if found is not None:
            self.overflows.append(found)

    def _source(self, quantizer: Op) -> tuple[Source | None, list[Op], str | None]:
        """Returns the integer value that decides a quantizer's codes, and the chain from it."""
        if any(v in self.graph.from_data for v in quantizer.inputs[1:]):
            return None, [], "its parameters depend on the images"
        # Truth values are followed further back: what they were computed from decides.
        ends = {v for v in self.ranges if v.aval.dtype != np.bool_} & self.graph.from_data
        ends |= {p.accumulator for p in self.products}
        while True:
            chain, sources = self._chain(quantizer.inputs[0], ends)
            if len(sources) == 1:
                break
            # Several integers may come from one; a product's or a quantizer's do not.
            inner = [v for v in sources if self._can_go_back(v)]
            if not inner:
                return None, chain, f"reads {len(sources)} values together, as a residual sum does"
            order = {op: i for i, op in enumerate(self.graph.ops)}
            ends.discard(max(inner, key=lambda v: order[self.graph.producer[v]]))
        (value,) = sources
        while (op := self.graph.producer.get(value)) is not None:
            # The same integers in another dtype: the chain starts from those of the network.
            if op.name != "convert_element_type" or not self._is_exact(op.inputs[0]):
                break
            (value,) = op.inputs
            chain = [op, *chain]
        reason = self._why_not_pointwise(quantizer, chain, value)
        if reason is not None:
            return None, chain, reason
        if value not in self._sources:
            self._sources[value] = self._make_source(value)
        return self._sources[value], chain, None

    def _can_go_back(self, value: Value) -> bool:
        op = self.graph.producer.get(value)
        return op is not None and op.primitive is not None and op not in self._names.products

    def _make_source(self, value: Value) -> Source:
        sums = {p.accumulator: p.name for p in self.products}
        sums |= {q.codes: q.name for q in self.quantizers}
        name = sums.get(value) or unique(f"{self._layer(value)}/integers", self._taken)
        return Source(name, value, self.ranges[value].over(value.shape[-1]))

    def _chain(self, value: Value, ends: set[Value]) -> tuple[list[Op], set[Value]]:
        """Returns the operations on data between ``ends`` and a value, and what they start from."""
        graph = self.graph
        ends = {*ends, *graph.inputs}
        if value in ends:
            return [], {value}
        ops = [
            op
            for op in graph.ancestors([value], stop=ends)
            if any(v in graph.from_data for v in op.outputs)
        ]
        return ops, {v for op in ops for v in op.inputs if v in ends and v in graph.from_data}

    def _why_not_pointwise(self, quantizer: Op, chain: list[Op], source: Value) -> str | None:
        if source not in self.ranges:
            if source in self.graph.inputs:
                return "reads the images through float layers"
            (product,) = [p for p in self.products if p.accumulator is source]
            return f"reads {product.name}: {product.reason}"
        if not source.shape:
            return "reads a single number"
        for op in [*chain, quantizer]:
            if not is_channelwise(op, source.shape[-1], self.graph):
                return f"reads through {op.name}, which is not channelwise"
        return None

    def on_integers(self, op: Op) -> bool:
        """Whether an operation is integer arithmetic: integers in, integers out."""
        if op.primitive is None or any(v not in self.ranges for v in op.outputs):
            return False
        return all(v.constant is not None or self._is_exact(v) for v in op.inputs)

    def _is_exact(self, value: Value) -> bool:
        """Whether a value holds integers that its dtype has not rounded."""
        held = self.ranges.get(value)
        return held is not None and held.within(exact(value.aval.dtype))

    def live(self, folded: Collection[str] = ()) -> tuple[list[Op], dict[str, Value]]:
        """Returns what has to be computed for the outputs.

        Args:
          folded: names of quantizers whose codes come straight from their sources.

        Returns:
          Operations in order, and the constants that they read, by name.
        """
        sources = {
            quantizer.op: [quantizer.source.value]
            for quantizer in self.quantizers
            if quantizer.name in folded and quantizer.source is not None
        }
        return read_constants(self.graph, self.constants, sources)
