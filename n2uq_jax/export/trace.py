"""From a function to a flat list of operations, in which this library's own are recognised."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
from jax import lax
from jax.extend import core

from n2uq_jax.export.reference import Function
from n2uq_jax.isolation import MARK_PREFIX

_CALLS = {
    # primitive: the parameter that holds what is called; XLA inlines these too.
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}


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
      levels: of a quantizer, the number of thresholds.
    """

    name: str
    inputs: list[Value]
    outputs: list[Value]
    primitive: Any = None
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    body: list["Op"] = dataclasses.field(default_factory=list)
    levels: int | None = None

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
        return self.levels is not None

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


def trace(function: Function, parameters: Mapping[str, Any], *inputs: Any) -> Graph:
    """Traces ``function(parameters, *inputs)``.

    Args:
      function: a pure function of arrays.
      parameters: arrays or ``jax.ShapeDtypeStruct`` by name.
      *inputs: arrays or shapes, which may have symbolic dimensions.

    Returns:
      Its operations, with every call inlined except for this library's products and quantizers.

    Raises:
      ValueError: if a product or quantizer runs inside a loop or a condition.
    """
    closed = jax.make_jaxpr(function)(dict(parameters), *inputs)
    values: dict[Any, Value] = {}
    names = sorted(parameters)  # the order in which JAX flattens a dict
    leaves = [Value(v.aval) for v in closed.jaxpr.invars]
    ops = list(_flatten(closed, leaves, values))
    return Graph(
        parameters=dict(zip(names, leaves[: len(names)], strict=True)),
        inputs=leaves[len(names) :],
        ops=ops,
        outputs=[_read(values, v) for v in closed.jaxpr.outvars],
    )


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


def _flatten(closed, operands: list[Value], values: dict[Any, Value]) -> Iterator[Op]:
    jaxpr = closed.jaxpr
    values.update(zip(jaxpr.invars, operands, strict=True))
    for variable, constant in zip(jaxpr.constvars, closed.consts, strict=True):
        values[variable] = Value(variable.aval, constant)
    for eqn in jaxpr.eqns:
        inputs = [_read(values, v) for v in eqn.invars]
        inner = _called(eqn)
        if inner is None:
            _reject_hidden_operations(eqn)
            outputs = [Value(v.aval) for v in eqn.outvars]
            yield Op(eqn.primitive.name, inputs, outputs, eqn.primitive, eqn.params)
        else:
            # A jaxpr may be called twice: its variables are bound anew each time.
            scope: dict[Any, Value] = {}
            operation = _operation(inner.jaxpr)
            if operation is None:
                yield from _flatten(inner, inputs, scope)
                outputs = [_read(scope, v) for v in inner.jaxpr.outvars]
            else:
                name, _, levels = operation.partition("/")
                body = list(_flatten(inner, inputs, scope))
                outputs = [_read(scope, v) for v in inner.jaxpr.outvars]
                yield Op(name, inputs, outputs, body=body, levels=int(levels) if levels else None)
        values.update(zip(eqn.outvars, outputs, strict=True))


def _called(eqn):
    """Returns the closed jaxpr that an equation calls, or None."""
    inner = eqn.params.get(_CALLS.get(eqn.primitive.name, ""))
    if inner is None or isinstance(inner, core.ClosedJaxpr):
        return inner
    return core.ClosedJaxpr(inner, ())


def _reject_hidden_operations(eqn) -> None:
    if any(_contains_operation(inner) for inner in core.jaxprs_in_params(eqn.params)):
        raise ValueError(
            f"a quantized layer runs inside a {eqn.primitive.name}, which export does not follow: "
            "export a model that calls its layers one after the other."
        )


def _contains_operation(jaxpr) -> bool:
    return any(
        _mark(eqn) is not None or any(map(_contains_operation, core.jaxprs_in_params(eqn.params)))
        for eqn in jaxpr.eqns
    )


def _mark(eqn) -> str | None:
    """Returns what an equation marks an operation of this library as, or None."""
    mark = eqn.params["name"] if eqn.primitive.name == "name" else ""
    return mark.removeprefix(MARK_PREFIX) if mark.startswith(MARK_PREFIX) else None


def _operation(jaxpr) -> str | None:
    """Returns the mark of one of this library's operations, if the jaxpr is one."""
    if len(jaxpr.outvars) != 1:
        return None
    for eqn in reversed(jaxpr.eqns):
        if eqn.primitive.name == "name" and eqn.outvars[0] is jaxpr.outvars[0]:
            return _mark(eqn)
    return None


def _read(values: dict[Any, Value], variable) -> Value:
    if isinstance(variable, core.Literal):
        return Value(variable.aval, variable.val)
    return values[variable]
