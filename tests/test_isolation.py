import jax
import jax.numpy as jnp
import numpy as np

from n2uq_jax.isolation import MARK_PREFIX, boundary, tagged

X = jnp.array([1.0, -2.0, np.inf])


def operations(function, *arguments):
    """Names of a trace's operations, calls inlined, in order."""

    def walk(jaxpr):
        for op in jaxpr.eqns:
            inner = [p.jaxpr for p in op.params.values() if hasattr(p, "jaxpr")]
            if inner:
                for j in inner:
                    yield from walk(j)
            else:
                yield op.primitive.name

    return list(walk(jax.make_jaxpr(function)(*arguments).jaxpr))


def test_boundary_is_a_barrier_in_evaluation_alone():
    def function(x):
        return jnp.sin(boundary(jnp.cos(x)))

    assert operations(function, X) == ["cos", "optimization_barrier", "sin"]
    training = operations(lambda x: jax.vjp(function, x)[0], X)
    assert "optimization_barrier" not in training
    np.testing.assert_array_equal(function(X[:2]), np.sin(np.cos(X[:2])))


def test_gradients_pass_the_boundary():
    gradient = jax.grad(lambda x: (boundary(x * x) * jnp.array([3.0, 4, 5])).sum())
    np.testing.assert_array_equal(gradient(jnp.array([1.0, 2, 3])), [6, 16, 30])


def test_an_operation_is_isolated_and_marked():
    jaxpr = jax.make_jaxpr(lambda x: tagged(2 * x, "double/3"))(X).jaxpr
    assert [op.primitive.name for op in jaxpr.eqns] == ["mul", "optimization_barrier", "name"]
    assert jaxpr.eqns[-1].params["name"] == f"{MARK_PREFIX}double/3"
