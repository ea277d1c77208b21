import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from n2uq_jax.nn.integer import average_pool, max_pool
from n2uq_jax.quantizers import QArray


def test_max_pool_of_negative_integers_ignores_padding():
    codes = -np.random.default_rng(0).integers(1, 100, (2, 7, 7, 3))
    args = ((3, 3), (2, 2), ((1, 1), (1, 1)))
    q = max_pool(QArray(jnp.asarray(codes, jnp.int32), jnp.float32(0.1), 100), *args)
    floats = jnp.asarray(codes, jnp.float32)
    expected = nnx.max_pool(floats, (3, 3), strides=(2, 2), padding=args[2])
    assert q.codes.dtype == jnp.int32
    assert q.max_code == 100
    np.testing.assert_array_equal(q.codes, expected)
    again = max_pool(QArray(floats, jnp.float32(0.1), 100), *args)
    np.testing.assert_array_equal(again.codes, expected)


def test_average_pool_is_an_exact_sum_with_a_smaller_scale():
    codes = np.full((1, 7, 7, 2), 32767)
    codes[..., 1] = np.arange(49).reshape(7, 7)
    q = average_pool(QArray(jnp.asarray(codes, jnp.int32), jnp.float32(0.5), 32767))
    np.testing.assert_array_equal(q.codes, [[49 * 32767, 49 * 24]])
    np.testing.assert_allclose(q.dequantize(), [[0.5 * 32767, 12]], rtol=1e-6)
    assert q.max_code == 49 * 32767


def test_average_pool_that_could_overflow_is_refused():
    with pytest.raises(ValueError, match=r"65,600 positions .* leaves 32 bits"):
        average_pool(QArray(jnp.zeros((1, 205, 320, 1), jnp.int32), jnp.float32(1), 32767))
