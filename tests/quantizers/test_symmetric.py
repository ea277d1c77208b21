import jax
import jax.numpy as jnp
import numpy as np
import pytest

from n2uq_jax.quantizers.symmetric import quantize_symmetric


def test_codes_fill_the_range_of_each_channel():
    kernel = jnp.array([[1.0, -0.01, 0.0], [-0.5, 0.02, 0.0], [0.004, 0.005, 0.0]])
    q = quantize_symmetric(kernel, 8)
    np.testing.assert_array_equal(
        q.codes, [[127, -64, 0], [-64, 127, 0], [1, 32, 0]]
    )  # -63.5 goes to -64 and 31.75 to 32
    np.testing.assert_allclose(q.scale, np.float32([1, 0.02, 1]) / 127)
    assert q.max_code == 127


def test_one_scale_for_all_and_few_bits():
    kernel = jnp.array([[1.0, 0.4], [-0.2, -1.4]])
    q = quantize_symmetric(kernel, 3, per_channel=False)
    np.testing.assert_array_equal(q.codes, [[2, 1], [0, -3]])
    assert q.scale.shape == ()
    assert q.max_code == 3
    np.testing.assert_allclose(q.dequantize(), kernel, atol=1.4 / 6)


def test_gradient_goes_straight_through():
    kernel = jax.random.normal(jax.random.key(0), (3, 3, 2, 4))
    weight = jax.random.normal(jax.random.key(1), kernel.shape)
    grad = jax.grad(lambda k: (quantize_symmetric(k, 8).dequantize() * weight).sum())(kernel)
    np.testing.assert_allclose(grad, weight, rtol=1e-6)


@pytest.mark.parametrize("bits", [1, 9])
def test_bits_out_of_range(bits):
    with pytest.raises(ValueError, match=f"2 to 8 .*got {bits}"):
        quantize_symmetric(jnp.ones((2, 2)), bits)


def test_integers_are_no_kernel():
    with pytest.raises(TypeError, match="int32"):
        quantize_symmetric(jnp.ones((2, 2), jnp.int32), 8)
