import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from n2uq_jax.export.trace.graph import evaluate
from n2uq_jax.export.trace.tracing import trace
from n2uq_jax.quantizers import QArray, quantize_activation, quantize_pact


def quantizer(p, x):
    return quantize_activation(x, p["start"], p["intervals"], jnp.ones(()), jnp.ones(()))


PARAMETERS = {"start": jnp.zeros(()), "intervals": jnp.full((3,), 0.5), "clip": jnp.ones(())}


def test_quantizers_are_recognised_and_calls_inlined():
    @jax.jit
    def inner(p, x):
        codes = quantizer(p, jnp.sin(x)).codes
        return jax.checkpoint(lambda y: quantize_pact(y, p["clip"], 2).codes)(codes)

    def function(p, x):
        return inner(p, x) + inner(p, jax.nn.relu(2 * x))

    x = jnp.linspace(-2, 2, 24).reshape(2, 3, 4)
    graph = trace(function, PARAMETERS, x)
    assert [(op.name, op.max_code) for op in graph.ops if op.is_quantizer] == [
        ("activation_codes", 3),
        ("pact_codes", 3),
    ] * 2
    assert not {"jit", "custom_vjp_call", "custom_jvp_call", "remat2"} & {
        op.name for op in graph.ops
    }
    env = {graph.parameters[k]: v for k, v in PARAMETERS.items()} | {graph.inputs[0]: x}
    evaluate(graph.ops, env)
    np.testing.assert_array_equal(env[graph.outputs[0]], function(PARAMETERS, x))


def test_a_foreign_function_of_the_same_name_is_not_taken_for_ours():
    @jax.custom_vjp
    def activation_codes(x):
        return jax.lax.optimization_barrier(x)

    activation_codes.defvjp(lambda x: (x, None), lambda _, g: (g,))
    graph = trace(lambda p, x: activation_codes(x), {}, jnp.ones(3))
    assert not any(op.is_quantizer or op.is_product for op in graph.ops)


def test_names_of_the_parameters_behind_a_value():
    def function(p, x):
        return quantizer(p, x).codes * jnp.sqrt(p["clip"])

    graph = trace(function, PARAMETERS, jnp.ones((2, 3)))
    (op,) = (op for op in graph.ops if op.is_quantizer)
    assert graph.parameters_behind(op.inputs[1:]) == ["intervals", "start"]
    factor = graph.producer[graph.outputs[0]].inputs[1]
    assert graph.parameters_behind([factor]) == ["clip"]
    assert op.outputs[0] in graph.from_data
    assert graph.parameters["clip"] not in graph.from_data


def test_batch_may_be_symbolic():
    (batch,) = jax.export.symbolic_shape("batch")
    shape = jax.ShapeDtypeStruct((batch, 4), jnp.float32)
    graph = trace(lambda p, x: quantizer(p, x).codes, PARAMETERS, shape)
    assert graph.outputs[0].shape == (batch, 4)


def test_qarray_of_codes_needs_no_mark():
    graph = trace(lambda p, x: QArray(x, p["clip"]).dequantize(), PARAMETERS, jnp.ones((2, 3)))
    assert [op.name for op in graph.ops if op.primitive is None] == []
