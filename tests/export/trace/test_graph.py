import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from n2uq_jax.export.trace.graph import Graph, Op, Value, evaluate, read

FLOAT = jax.core.ShapedArray((3,), jnp.float32)


def operation(primitive, inputs, **params):
    return Op(primitive.name, inputs, [Value(FLOAT)], primitive, params)


@pytest.fixture
def graph():
    """``-sin(x + p) * p``, and a square of ``p`` that nobody reads."""
    p, x = Value(FLOAT), Value(FLOAT)
    add = operation(lax.add_p, [x, p])
    sin = operation(lax.sin_p, add.outputs, accuracy=None)
    mul = operation(lax.mul_p, [*sin.outputs, p])
    neg = operation(lax.neg_p, mul.outputs)
    square = operation(lax.square_p, [p])
    return Graph({"p": p}, [x], [add, sin, mul, neg, square], neg.outputs)


def names(ops):
    return [op.name for op in ops]


def test_who_computes_and_who_reads(graph):
    (p,) = graph.parameters.values()
    assert names(graph.consumers()[p]) == ["add", "mul", "square"]
    assert [op.name for v in graph.outputs if (op := graph.producer[v])] == ["neg"]
    assert p not in graph.from_data
    assert [graph.ops[i].outputs[0] in graph.from_data for i in range(5)] == [True] * 4 + [False]


def test_ancestors_are_in_order_and_stop(graph):
    assert names(graph.ancestors(graph.outputs)) == ["add", "sin", "mul", "neg"]
    sums = graph.ops[0].outputs[0]
    assert names(graph.ancestors(graph.outputs, stop=[sums])) == ["sin", "mul", "neg"]
    assert graph.ancestors(graph.inputs) == []


def test_parameters_are_named_up_to_the_data(graph):
    assert graph.parameters_behind(graph.ops[4].outputs) == ["p"]
    assert graph.parameters_behind(graph.ops[2].inputs) == ["p"]
    assert graph.parameters_behind(graph.ops[1].inputs) == []  # the sum depends on the data


def test_evaluation_fills_the_environment(graph):
    x, p = jnp.arange(3.0), jnp.float32([1, -2, 3])
    env = {graph.inputs[0]: x, graph.parameters["p"]: p}
    evaluate(graph.ops, env)
    np.testing.assert_array_equal(env[graph.outputs[0]], -(lax.sin(x + p) * p))
    assert len(env) == 7


def test_isolated_values_stand_behind_a_barrier(graph):
    def function(x, p, isolated):
        env = {graph.inputs[0]: x, graph.parameters["p"]: p}
        evaluate(graph.ops, env, isolated)
        return env[graph.outputs[0]]

    shape = jax.ShapeDtypeStruct((3,), jnp.float32)
    isolated = graph.ops[1].outputs
    jaxpr = jax.make_jaxpr(lambda x, p: function(x, p, isolated))(shape, shape)
    found = [eqn.primitive.name for eqn in jaxpr.eqns]
    assert found == ["add", "sin", "optimization_barrier", "mul", "neg", "square"]


def test_an_operation_with_a_body_computes_it():
    x, y = Value(FLOAT), Value(FLOAT)
    inner = operation(lax.sub_p, [x, y])
    outer = Op("activation_codes", [y, x], inner.outputs, body=[inner], max_code=3)
    (result,) = outer(jnp.ones(3), jnp.full(3, 5.0))
    np.testing.assert_array_equal(result, np.full(3, 4))
    assert outer.is_quantizer
    assert not outer.is_product
    assert Op("multiply_codes", [], []).is_product


def test_constants_are_read_without_an_environment():
    three = Value(FLOAT, np.float32([3, 3, 3]))
    assert read({}, three) is three.constant
    assert read({three: 1}, three) is three.constant
    x = Value(FLOAT)
    assert read({x: 7}, x) == 7
