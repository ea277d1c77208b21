"""Every operation of ONNX against JAX, on numbers where both could differ."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from n2uq_jax.export.formats.onnx.graph import NotInOnnx, OnnxGraph
from n2uq_jax.export.formats.onnx.operations import add_integer_operation, add_operation
from n2uq_jax.export.trace.tracing import trace
from tests.export.formats.onnx.nodes import run_nodes

FLOATS = np.float32([[-2.5, -1.5, -0.5, 0, 0.5, 1.5], [2.5, 3, -3, 1e-3, 40, -40]]).reshape(2, 3, 2)
INTEGERS = np.int32([[-7, -8, 2**30, -(2**31), 0, 5], [1, -1, 3, -3, 127, 255]]).reshape(2, 3, 2)


def converted(function, x, *, integers=False, opset=17):
    """Returns what the ONNX nodes of ``function(x)`` compute, and what JAX does."""
    traced = trace(lambda _, v: function(v), {}, jax.ShapeDtypeStruct(x.shape, x.dtype))
    graph, names = OnnxGraph(opset), {traced.inputs[0]: "x"}
    for op in traced.ops:
        inputs = [
            names[v] if v.constant is None else graph.constant(np.asarray(v.constant, v.aval.dtype))
            for v in op.inputs
        ]
        if integers:
            given = [v.constant for v in op.inputs]
            names[op.outputs[0]] = add_integer_operation(graph, op, inputs, given, graph.constant)
        else:
            names[op.outputs[0]] = add_operation(graph, op, inputs)
    output = names[traced.outputs[0]]
    return run_nodes(graph, output, x), function(jnp.asarray(x))


ON_FLOATS = {
    "round half to even": lambda x: lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN),
    "clamp": lambda x: lax.clamp(jnp.float32(-1), x, jnp.float32(2)),
    "clamp to an empty interval": lambda x: lax.clamp(jnp.float32(2), x, jnp.float32(-1)),
    "select": lambda x: jnp.where(x > 0, x, 2 * x),
    "ne": lambda x: x != 0,
    "cube": lambda x: lax.integer_pow(x, 3),
    "square": lax.square,
    "rsqrt": lambda x: lax.rsqrt(lax.abs(x) + 1),
    "cast": lambda x: lax.convert_element_type(x, jnp.int32),
    "reshape": lambda x: lax.reshape(x, (3, 4)),
    "transpose": lambda x: lax.transpose(x, (2, 0, 1)),
    "broadcast": lambda x: lax.broadcast_in_dim(x, (4, 2, 3, 5, 2), (1, 2, 4)),
    "concatenate": lambda x: lax.concatenate([x, -x], 2),
    "slice": lambda x: lax.slice(x, (0, 0, 1), (2, 3, 2), (1, 2, 1)),
    "pad": lambda x: lax.pad(x, jnp.float32(9), ((0, 0, 0), (1, 2, 0), (0, 1, 0))),
    "sum": lambda x: x.sum((0, 2)),
    "maximum": lambda x: x.max(1),
    "minimum": lambda x: x.min(-1),
    "max-pool": lambda x: lax.reduce_window(
        x, -jnp.inf, lax.max, (1, 2, 1), (1, 1, 1), ((0, 0), (0, 1), (0, 0))
    ),
    "matmul": lambda x: x @ jnp.float32([[1, 2, 3], [4, 5, 6]]),
    "conv": lambda x: lax.conv_general_dilated(
        x,
        np.arange(8, dtype=np.float32).reshape(2, 2, 2),
        (2,),
        ((1, 0),),
        dimension_numbers=("NWC", "WIO", "NWC"),
    ),
}


@pytest.mark.parametrize("name", ON_FLOATS)
@pytest.mark.parametrize("opset", [17, 21])
def test_floats(name, opset):
    result, expected = converted(ON_FLOATS[name], FLOATS, opset=opset)
    np.testing.assert_allclose(result, expected, rtol=1e-6, strict=True)


ON_INTEGERS = {
    **{f"shift by {by}": lambda x, by=by: x >> by for by in (0, 1, 5, 30, 31)},
    "shift of channels": lambda x: x >> jnp.int32([[[0, 31]]]),
    "negative": lax.neg,
    "max-pool": lambda x: lax.reduce_window(
        x >> 8, -(2**31), lax.max, (1, 2, 1), (1, 1, 1), "VALID"
    ),
    "clamp": lambda x: lax.clamp(jnp.int32(-2), x, jnp.int32(99)),
    "truth": lambda x: lax.convert_element_type(x > 2, jnp.int32),
    "logic": lambda x: lax.convert_element_type((x > 2) & (x < 99), jnp.int32),
}


@pytest.mark.parametrize("name", ON_INTEGERS)
def test_integers(name):
    result, expected = converted(ON_INTEGERS[name], INTEGERS, integers=True)
    np.testing.assert_array_equal(result, expected, strict=True)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: lax.round(x, lax.RoundingMethod.AWAY_FROM_ZERO), "rounds half to even only"),
        (lambda x: lax.integer_pow(x, -2), "the power -2"),
        (lambda x: lax.pad(x, jnp.float32(0), ((0, 0, 1), (0, 0, 0), (0, 0, 0))), "know pad with"),
        (lambda x: lax.cumsum(x, 1), "the operation cumsum"),
        (lambda x: jnp.einsum("bwc,bvc->bwv", x, x), r"dot_general of \(..., n\) with"),
    ],
)
def test_what_onnx_lacks_is_refused(function, message):
    with pytest.raises(NotInOnnx, match=message):
        converted(function, FLOATS)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x >> x, "shifts that depend on the images"),
        (lambda x: x & 3, "know and of integers"),
        (lambda x: x @ jnp.int32([[1], [2]]), "know dot_general of integers"),
    ],
)
def test_integer_operations_that_runtimes_lack_are_refused(function, message):
    with pytest.raises(NotInOnnx, match=message):
        converted(function, INTEGERS, integers=True)
