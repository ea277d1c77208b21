"""A program in words: what a manifest says about each of its steps."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from n2uq_jax.export.program.interpreter import Steps
from n2uq_jax.export.program.program import IntegerProgram
from n2uq_jax.export.trace.graph import Op, Value
from n2uq_jax.export.trace.network import TracedNetwork
from n2uq_jax.export.trace.products import Product
from n2uq_jax.primitives import MOVES

Step = dict[str, Any]


def describe(program: IntegerProgram) -> list[Step]:
    """Lists the steps of a program in order.

    Args:
      program: the integer program.

    Returns:
      JSON-able dicts with the ``kind`` of step (``"convolution"`` or ``"matrix product"`` of
      codes, integer ``"thresholds"``, ``"integer"`` or ``"float"`` arithmetic as in the network),
      its ``name``, and what it ``reads``.
    """
    network = program.network(1)
    steps = Steps(network, program.thresholds)
    return list(_Description(network, steps, program).steps())


class _Description:
    def __init__(self, network: TracedNetwork, steps: Steps, program: IntegerProgram):
        self._network = network
        self._ops = [op for op in steps.ops if set(op.outputs) & network.graph.from_data]
        self._floats = set(steps.float_ops)
        self._program = program
        self._products = {p.op: p for p in network.products if p.codes is not None}
        self._folded = {q.op: q for q in steps.folded_quantizers}
        self._names = self._name_values()

    def steps(self) -> Iterable[Step]:
        pending: dict[bool, list[Op]] = {True: [], False: []}
        for op in self._ops:
            if op in self._products:
                yield self._product(self._products[op])
            elif op in self._folded:
                quantizer = self._folded[op]
                assert quantizer.source is not None
                yield {
                    "kind": "thresholds",
                    "name": quantizer.name,
                    "reads": [self._name_behind(quantizer.source.value)],
                    "levels": quantizer.max_code,
                }
            else:
                is_float = op in self._floats
                pending[is_float].append(op)
                if any(value in self._names for value in op.outputs):
                    chain = self._chain(op, pending[is_float])
                    pending[is_float] = [o for o in pending[is_float] if o not in chain]
                    yield self._arithmetic("float" if is_float else "integer", chain)

    def _chain(self, last: Op, ops: list[Op]) -> list[Op]:
        """Returns the operations among some that one of them is computed from."""
        inside = set(ops)
        found, queue = {last}, [last]
        while queue:
            for value in queue.pop().inputs:
                op = self._network.graph.producer.get(value)
                if op in inside and op not in found and value not in self._names:
                    found.add(op)
                    queue.append(op)
        return [op for op in ops if op in found]

    def _product(self, product: Product) -> Step:
        network = self._network
        names = {value: name for name, value in network.constants.items()}
        tensor = names[product.weight]
        params = product.bilinear.params
        step = {
            "kind": "matrix product",
            "name": product.name,
            "reads": [self._name_behind(product.op.inputs[0])],
            "weight": {"tensor": tensor, "shape": list(self._program.tensors[tensor].shape)},
            "accumulator": list(network.ranges[product.accumulator].bounds),
        }
        if product.bilinear.name == "conv_general_dilated":
            step["kind"] = "convolution"
            step["strides"] = list(params["window_strides"])
            step["padding"] = [list(pair) for pair in params["padding"]]
            step["groups"] = params["feature_group_count"]
        return step

    def _arithmetic(self, kind: str, chain: list[Op]) -> Step:
        inner = {v for op in chain for v in op.outputs}
        from_data = self._network.graph.from_data
        read = [v for op in chain for v in op.inputs if v in from_data and v not in inner]
        operations = Counter(op.name for op in chain if op.name not in MOVES)
        return {
            "kind": kind,
            "name": next(self._names[v] for v in reversed(chain[-1].outputs) if v in self._names),
            "reads": list(dict.fromkeys(map(self._name_behind, read))),
            "operations": dict(sorted(operations.items())),
        }

    def _name_behind(self, value: Value) -> str:
        """Returns the name of a value, or of what only moves away from it."""
        while value not in self._names:
            op = self._network.graph.producer[value]
            value = next(v for v in op.inputs if v in self._network.graph.from_data)
        return self._names[value]

    def _name_values(self) -> dict[Value, str]:
        """Names what other steps read, except where it only moves codes."""
        network = self._network
        names = dict.fromkeys(network.graph.inputs, "images")
        names |= {p.accumulator: p.name for p in network.products}
        names |= {q.codes: q.name for q in network.quantizers}
        sources = {q.source.value: q.source.name for q in network.quantizers if q.source}
        names |= {v: name for v, name in sources.items() if v not in names}
        number = 0
        for op in self._ops:
            (value, *_) = op.outputs
            isolated = op.name == "optimization_barrier" or value in network.shared
            arithmetic = op.name not in MOVES and op.primitive is not None
            ends = arithmetic and op not in self._floats and self._is_read_by_others(op)
            if value not in names and (isolated or ends):
                names[value] = f"value {number}"
                number += 1
        names[network.graph.outputs[0]] = "logits"
        return names

    def _is_read_by_others(self, op: Op) -> bool:
        """Whether integer arithmetic ends here: a product or float arithmetic reads it."""
        readers = self._network.graph.consumers()
        pending, kinds = [op], set()
        while pending:
            for value in pending.pop().outputs:
                for reader in readers.get(value, []):
                    if reader.name in MOVES and reader not in self._floats:
                        pending.append(reader)
                    else:
                        kinds.add(reader in self._products or reader in self._floats)
        return True in kinds
