import jax
import jax.numpy as jnp
import numpy as np

from n2uq_jax.quantizers.rounding import straight_through


def test_the_value_of_one_and_the_gradient_of_the_other():
    x = jnp.array([0.4, 1e30, -np.inf, 0.1])
    rounded = jnp.array([0.0, 3, 0, 1 / 3])
    np.testing.assert_array_equal(straight_through(x, rounded), rounded)
    gradients = jax.grad(lambda *a: (straight_through(*a) * jnp.arange(4.0)).sum(), (0, 1))
    dx, d_rounded = gradients(x, rounded)
    np.testing.assert_array_equal(dx, [0, 1, 2, 3])
    np.testing.assert_array_equal(d_rounded, np.zeros(4))
