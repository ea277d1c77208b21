import jax
import jax.numpy as jnp
import numpy as np

from n2uq_jax.isolation import boundary


def test_identity_with_a_gradient():
    x = jnp.array([1.0, -2.0, np.inf])
    y, pull = jax.vjp(boundary, x)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(pull(jnp.array([3.0, 4, 5]))[0], [3, 4, 5])


def test_barrier_in_evaluation_alone():
    x = jnp.ones(3)
    assert "optimization_barrier" in str(jax.make_jaxpr(boundary)(x))
    training = jax.make_jaxpr(jax.grad(lambda x: boundary(x * x).sum()))(x)
    assert "optimization_barrier" not in str(training)
