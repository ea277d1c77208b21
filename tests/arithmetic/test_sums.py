import jax
import jax.numpy as jnp
import numpy as np
import pytest

from n2uq_jax.arithmetic import conv_sums, matmul_sums, quantized_conv, quantized_matmul
from n2uq_jax.quantizers import QArray

GEOMETRY = {"strides": (2, 2), "padding": ((1, 1), (1, 1))}


def codes(shape, largest, scale, key, dtype=jnp.float32):
    values = jax.random.randint(jax.random.key(key), shape, -largest, largest + 1)
    return QArray(values.astype(dtype), jnp.float32(scale), largest)


def test_sums_times_scale_is_the_product():
    x, w = codes((2, 7, 7, 4), 3, 0.5, 0), codes((3, 3, 4, 5), 7, [1, 2, 3, 4, 5], 1)
    sums = conv_sums(x, w, **GEOMETRY)
    np.testing.assert_array_equal(sums.dequantize(), quantized_conv(x, w, **GEOMETRY))
    integers = conv_sums(x, w, **GEOMETRY, integer=True)
    assert integers.codes.dtype == jnp.int32
    np.testing.assert_array_equal(integers.codes, sums.codes)
    assert integers.max_code == sums.max_code == 3 * 3 * 4 * 3 * 7
    x, w = codes((6, 9), 3, 0.5, 0), codes((9, 5), 7, 0.25, 1)
    product = matmul_sums(x, w, integer=True)
    np.testing.assert_array_equal(product.dequantize(), quantized_matmul(x, w))
    assert product.max_code == 9 * 3 * 7


def test_the_bound_is_reached():
    x = QArray(jnp.full((1, 9), 3.0), jnp.float32(1), 3)
    w = QArray(jnp.full((9, 1), -7.0), jnp.float32(1), 7)
    sums = matmul_sums(x, w)
    assert float(sums.codes[0, 0]) == -sums.max_code


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_integer_sums_beyond_the_integers_of_float32(dtype):
    x = QArray(jnp.full((1, 60000), 255, dtype), jnp.float32(1), 255)
    w = QArray(jnp.full((60000, 1), 127, dtype).at[0, 0].set(126), jnp.float32(1), 127)
    sums = matmul_sums(x, w, integer=True).codes
    assert int(sums[0, 0]) == 60000 * 255 * 127 - 255
    assert sums[0, 0] % 2 == 1


def test_float_sums_have_gradients():
    x, w = codes((3, 4), 3, 0.5, 0), codes((4, 2), 7, 0.25, 1)
    grad = jax.grad(lambda c: matmul_sums(QArray(c, x.scale, 3), w).dequantize().sum())(x.codes)
    expected = jnp.broadcast_to(w.codes.sum(1) * 0.5 * 0.25, (3, 4))
    np.testing.assert_allclose(grad, expected, rtol=1e-6)
