import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from n2uq_jax.nn import RPReLU


def test_values_and_gradients():
    layer = RPReLU(2, rngs=nnx.Rngs(0))
    layer.bias_in[...] = jnp.array([1.0, 0.0])
    layer.slope[...] = jnp.array([0.5, -2.0])
    layer.bias_out[...] = jnp.array([0.0, 10.0])
    x = jnp.array([[-3.0, 0.0], [2.0, -1.0]])
    np.testing.assert_array_equal(layer(x), [[-1, 10], [3, 12]])

    gradient = nnx.grad(lambda layer, x: layer(x).sum(), argnums=(0, 1))(layer, x)
    # At the kink itself, a shifted input of 0, the slope is that of the negative side.
    np.testing.assert_array_equal(gradient[1], [[0.5, -2], [1, -2]])
    np.testing.assert_array_equal(gradient[0].bias_in[...], [1.5, -4])
    np.testing.assert_array_equal(gradient[0].slope[...], [-2, -1])
    np.testing.assert_array_equal(gradient[0].bias_out[...], [2, 2])


def test_initial_values():
    x = jnp.array([-2.0, 3.0, 0.0])
    np.testing.assert_array_equal(RPReLU(3, rngs=nnx.Rngs(0))(x), [-0.5, 3, 0])
    constant = nnx.initializers.constant
    layer = RPReLU(3, slope_init=constant(0.0), bias_init=constant(1.0), rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(layer(x), [1, 5, 2])


def test_dtypes():
    x = jnp.ones((2, 3), jnp.bfloat16)
    assert RPReLU(3, rngs=nnx.Rngs(0))(x).dtype == jnp.float32
    layer = RPReLU(3, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    assert layer.slope[...].dtype == jnp.float32
    assert layer(x.astype(jnp.float32)).dtype == jnp.bfloat16
    narrow = RPReLU(3, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    assert {v.dtype for v in jax.tree.leaves(nnx.state(narrow))} == {jnp.dtype(jnp.bfloat16)}
    assert narrow(x).dtype == jnp.bfloat16


@pytest.mark.parametrize("shape", [(), (2,), (3, 2)])
def test_errors(shape):
    with pytest.raises(ValueError, match="x must have 3 channels last, got shape"):
        RPReLU(3, rngs=nnx.Rngs(0))(jnp.ones(shape))
