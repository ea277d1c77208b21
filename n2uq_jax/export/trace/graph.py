"""A computation as a flat list of operations, to be followed, cut and carried out."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import jax
from jax import lax


@dataclasses.dataclass(eq=False)
class Value:
    """An array somewhere in a computation, the same object wherever it is used.

    Args:
      aval: shape and dtype; dimensions may be symbolic.
      constant: the array itself, if the traced function held it.
    """

    aval: Any
    constant: Any = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, with symbolic dimensions if the trace has some."""
        return self.aval.shape

    def __repr__(self) -> str:
        return f"Value({self.aval.str_short()})"


@dataclasses.dataclass(eq=False)
class Op:
    """One primitive operation, or one of this library's with what it is made of.

    Args:
      name: the primitive's, or the operation's own, such as ``"multiply_codes"``.
      inputs: operands.
      outputs: results.
      primitive: None for an operation of this library.
      params: the primitive's static parameters.
      body: the operations that one of this library's consists of, else empty.
      max_code: of a quantizer, the largest code, which is the number of thresholds.
    """

    name: str
    inputs: list[Value]
    outputs: list[Value]
    primitive: Any = None
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    body: list["Op"] = dataclasses.field(default_factory=list)
    max_code: int | None = None

    def __call__(self, *operands: jax.Array) -> list[jax.Array]:
        """Computes the results, exactly as the traced function does."""
        if self.primitive is None:
            env = dict(zip(self.inputs, operands, strict=True))
            evaluate(self.body, env)
            return [env[value] for value in self.outputs]
        results = self.primitive.bind(*operands, **self.params)
        return list(results) if self.primitive.multiple_results else [results]

    @property
    def is_quantizer(self) -> bool:
        """Whether this turns floats into codes by thresholds or rounding."""
        return self.max_code is not None

    @property
    def is_product(self) -> bool:
        """Whether this multiplies codes."""
        return self.name == "multiply_codes"


@dataclasses.dataclass(eq=False)
class Graph:
    """A traced function: operations in the order in which they can be computed.

    Args:
      parameters: the function's parameters by name.
      inputs: its other arguments.
      ops: every operation; calls are inlined.
      outputs: its results.
    """

    parameters: dict[str, Value]
    inputs: list[Value]
    ops: list[Op]
    outputs: list[Value]

    def __post_init__(self):
        self.producer = {value: op for op in self.ops for value in op.outputs}
        self.from_data = set(self.inputs)
        for op in self.ops:
            if any(value in self.from_data for value in op.inputs):
                self.from_data.update(op.outputs)

    def consumers(self) -> dict[Value, list[Op]]:
        """Returns the operations that read each value."""
        readers: dict[Value, list[Op]] = {}
        for op in self.ops:
            for value in dict.fromkeys(op.inputs):
                readers.setdefault(value, []).append(op)
        return readers

    def parameters_behind(self, values: Iterable[Value]) -> list[str]:
        """Returns the names of the parameters that ``values`` are computed from, sorted."""
        names = {value: name for name, value in self.parameters.items()}
        reached = set(values) | {
            value for op in self.ancestors(values, stop=self.from_data) for value in op.inputs
        }
        return sorted(names[value] for value in reached if value in names)

    def ancestors(self, values: Iterable[Value], stop: Iterable[Value] = ()) -> list[Op]:
        """Returns the operations behind ``values``, in order.

        Args:
          values: what is computed.
          stop: values that are taken as given.

        Returns:
          The operations between both.
        """
        pending, given, found = list(values), set(stop), set()
        while pending:
            value = pending.pop()
            op = self.producer.get(value)
            if op is None or op in found or value in given:
                continue
            found.add(op)
            pending.extend(op.inputs)
        return [op for op in self.ops if op in found]


def evaluate(ops: Iterable[Op], env: dict[Value, Any], isolated: Iterable[Value] = ()) -> None:
    """Computes operations one after the other.

    Args:
      ops: in order.
      env: arrays by value; results are added. Constants need not be in it.
      isolated: values to put behind an optimization barrier as soon as they are computed.
    """
    for op in ops:
        operands = [read(env, value) for value in op.inputs]
        for value, result in zip(op.outputs, op(*operands), strict=True):
            env[value] = lax.optimization_barrier(result) if value in isolated else result


def read(env: Mapping[Value, Any], value: Value) -> Any:
    """Returns a value of an environment, or the constant that it is."""
    return env[value] if value.constant is None else value.constant
