import jax
import jax.numpy as jnp
import numpy as np
import pytest

from n2uq_jax.data import normalize

IMAGE = np.arange(2 * 3 * 3 * 2, dtype=np.uint8).reshape(2, 3, 3, 2) * 7


def test_formula():
    expected = (IMAGE / 255 - np.array([0.4, 0.5])) / np.array([0.2, 0.25])
    result = jax.jit(lambda image: normalize(image, (0.4, 0.5), (0.2, 0.25)))(jnp.asarray(IMAGE))
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_bfloat16_rounds_once():
    exact = normalize(jnp.asarray(IMAGE), (0.4, 0.5), (0.2, 0.25))
    rounded = normalize(jnp.asarray(IMAGE), (0.4, 0.5), (0.2, 0.25), jnp.bfloat16)
    assert rounded.dtype == jnp.bfloat16
    np.testing.assert_array_equal(rounded, exact.astype(jnp.bfloat16))


def test_float64(x64):
    result = normalize(jnp.asarray(IMAGE), (0.4, 0.5), (0.2, 0.25), jnp.float64)
    expected = (IMAGE / 255 - np.array([0.4, 0.5])) / np.array([0.2, 0.25])
    np.testing.assert_allclose(result, expected, atol=1e-15)


def test_arguments_that_do_not_fit():
    with pytest.raises(TypeError, match="image has dtype float32, expected uint8"):
        normalize(jnp.zeros((2, 2, 2)), (0.0, 0.0), (1.0, 1.0))
    with pytest.raises(ValueError, match="has 2 channels, but mean has 3"):
        normalize(jnp.asarray(IMAGE), (0.0, 0.0, 0.0), (1.0, 1.0))
    with pytest.raises(ValueError, match="std holds a zero"):
        normalize(jnp.asarray(IMAGE), (0.0, 0.0), (1.0, 0.0))
