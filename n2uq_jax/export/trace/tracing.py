"""From a function to a flat list of operations, in which this library's own are recognised."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
from jax.extend import core

from n2uq_jax.export.trace.graph import Graph, Op, Value
from n2uq_jax.export.trace.reference import Function
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
                name, _, largest = operation.partition("/")
                body = list(_flatten(inner, inputs, scope))
                outputs = [_read(scope, v) for v in inner.jaxpr.outvars]
                yield Op(
                    name, inputs, outputs, body=body, max_code=int(largest) if largest else None
                )
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
