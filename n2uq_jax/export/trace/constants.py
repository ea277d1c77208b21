"""What a network computes from its parameters alone, by name."""

import os.path
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from n2uq_jax.export.trace.graph import Graph, Op, Value, evaluate, read
from n2uq_jax.export.trace.products import is_product
from n2uq_jax.export.trace.ranges import is_integer
from n2uq_jax.primitives import RESHAPES

Constants = dict[str, Any]
"""Arrays by name: parameters, weight codes, and what the network computes from parameters."""


class Names:
    """Names for what does not depend on the images.

    Args:
      graph: the trace.

    Attributes:
      products: the name of every product.
      quantizers: the name of every activation quantizer.
      constants: by name, the values that do not depend on the data and that everything else is
        computed from: parameters, weight codes, the integers that integer arithmetic on the data
        reads, and whatever the model isolates, such as scales.
    """

    def __init__(self, graph: Graph):
        self._graph = graph
        self.products: dict[Op, str] = {}
        self.quantizers: dict[Op, str] = {}
        taken: set[str] = set()
        for op in graph.ops:
            if is_product(op, graph):
                self.products[op] = unique(self.folder(op.inputs[1:]) or "product", taken)
            elif op.is_quantizer:
                self.quantizers[op] = unique(self.folder(op.inputs[1:]) or "quantizer", taken)
        self._reached = self._first_reads()
        self.constants = self._name_constants()

    def folder(self, values: Iterable[Value]) -> str:
        """Returns the path of the layer whose parameters ``values`` are computed from."""
        folders = [os.path.dirname(path) for path in self._graph.parameters_behind(values)]
        return os.path.commonpath(folders) if folders else ""

    def layer(self, value: Value) -> str:
        """Returns the path of the layer that a constant is computed for.

        That is the folder with the most parameters behind it, and of equal ones the folder that the
        network comes to last: what a layer borrows, such as the step of a grid, is older.
        """
        counts = Counter(map(os.path.dirname, self._graph.parameters_behind([value])))
        return max(counts, key=lambda folder: (counts[folder], self._reached[folder]), default="")

    def _first_reads(self) -> dict[str, int]:
        """Returns when the network first reads a parameter of each folder."""
        folders = {v: os.path.dirname(name) for name, v in self._graph.parameters.items()}
        reads: dict[str, int] = {}
        for i, op in enumerate(self._graph.ops):
            for value in op.inputs:
                if value in folders:
                    reads.setdefault(folders[value], i)
        return reads

    def _name_constants(self) -> dict[str, Value]:
        graph = self._graph
        constants = dict(graph.parameters)
        taken = set(constants)
        named = set(constants.values())

        def add(value: Value, folder: str, name: str) -> None:
            if value not in graph.from_data and value not in named and value.constant is None:
                constants[unique(os.path.join(folder, name), taken)] = value
                named.add(value)

        for op, name in self.products.items():
            weight = op.inputs[1]
            if weight not in graph.from_data and weight not in named:
                constants[unique(f"{name}/weight", taken)] = weight
                named.add(weight)
        # The last barrier is the one in front of the data, so it gets the plain name.
        for op in reversed(graph.ops):
            if op.name == "optimization_barrier":
                for value in op.outputs:
                    if is_integer(value):
                        add(value, self.layer(value), self._integers_of(value))
                    else:
                        add(value, self.folder([value]), "scale")
        for op in graph.ops:
            if any(v in graph.from_data for v in op.outputs):
                for value in op.inputs:
                    if is_integer(value):
                        self._add_integer(value, add)
        return constants

    def _add_integer(self, value: Value, add) -> None:
        """Names the integers behind broadcasts; a ``checkpoint_name`` of theirs is kept."""
        while (op := self._graph.producer.get(value)) is not None:
            if op.name not in RESHAPES | {"broadcast_in_dim"}:
                break
            value = op.inputs[0]
        # What depends on no parameter, such as zeros, is computed where it is needed.
        if self._graph.parameters_behind([value]):
            own_name = op.params["name"] if op is not None and op.name == "name" else None
            add(value, self.layer(value), own_name or self._integers_of(value))

    def _integers_of(self, value: Value) -> str:
        """Returns a name for integers, after the parameter of their layer if it is a single one."""
        layer = self.layer(value)
        found = [p for p in self._graph.parameters_behind([value]) if os.path.dirname(p) == layer]
        return f"{os.path.basename(found[0])}_integers" if len(found) == 1 else "integers"


def read_constants(
    graph: Graph, constants: Mapping[str, Value], sources: Mapping[Op, list[Value]]
) -> tuple[list[Op], dict[str, Value]]:
    """Returns what has to be computed for the outputs.

    Args:
      graph: the trace.
      constants: values that are given, by name.
      sources: operations that are computed from other values than their operands.

    Returns:
      Operations in order, and the constants that they read, by name.
    """
    named = {value: name for name, value in constants.items()}
    pending, found = list(graph.outputs), set()
    used: dict[str, Value] = {}
    while pending:
        value = pending.pop()
        op = graph.producer.get(value)
        if value in named:
            used[named[value]] = value
        elif op is not None and op not in found:
            found.add(op)
            pending.extend(sources.get(op, op.inputs))
    return [op for op in graph.ops if op in found], dict(sorted(used.items()))


def compute_constants(graph: Graph, names: Names, parameters: Mapping[str, Any]) -> Constants:
    """Computes what a network computes from its parameters alone, between its barriers.

    Args:
      graph: the trace.
      names: of the trace.
      parameters: arrays by name.

    Returns:
      Arrays by name, for every constant that the network reads; weight codes as int8 or wider.

    Raises:
      ValueError: if weight codes are not integers.
    """
    _, used = read_constants(graph, names.constants, {})
    derived = {name: value for name, value in used.items() if name not in graph.parameters}
    ops = graph.ancestors(derived.values())

    @jax.jit
    def compute(parameters):
        env = {graph.parameters[name]: array for name, array in parameters.items()}
        evaluate(ops, env)
        return {name: read(env, value) for name, value in derived.items()}

    constants = {name: parameters[name] for name in used if name in parameters}
    constants |= compute(dict(parameters))
    weights = {op.inputs[1] for op in names.products}
    for name, value in used.items():
        if value in weights:
            constants[name] = _as_integers(name, np.asarray(constants[name]))
    return constants


def check_finite(parameters: Mapping[str, Any], read: Collection[str]) -> None:
    """Raises ValueError, by name, if a parameter that the network reads is not finite.

    Args:
      parameters: arrays by name.
      read: the names that the network reads.
    """
    broken = [
        name
        for name in sorted(read)
        if jnp.issubdtype(parameters[name].dtype, jnp.floating)
        and not np.isfinite(np.asarray(parameters[name])).all()
    ]
    if broken:
        more = f" and {len(broken) - 5} more" if len(broken) > 5 else ""
        raise ValueError(
            f"model must have finite parameters; {', '.join(broken[:5])}{more} has NaN or infinity."
        )


def unique(name: str, taken: set[str]) -> str:
    """Returns a name that is not taken, by numbering it, and takes it.

    Args:
      name: the wish.
      taken: names that are in use; the new one is added.
    """
    number, candidate = 2, name
    while candidate in taken:
        number, candidate = number + 1, f"{name}#{number}"
    taken.add(candidate)
    return candidate


def _as_integers(name: str, codes: np.ndarray) -> np.ndarray:
    if not (np.isfinite(codes).all() and (codes == np.round(codes)).all()):
        raise ValueError(f"{name} must be integer codes; is a parameter not finite?")
    largest = np.abs(codes.astype(np.int64)).max(initial=0)
    dtype = np.int8 if largest <= 127 else np.int16 if largest < 2**15 else np.int32
    return codes.astype(dtype)
