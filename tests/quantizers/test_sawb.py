import jax
import jax.numpy as jnp
import numpy as np
import pytest

from n2uq_jax.quantizers import quantize_sawb


def test_by_hand():
    # The root of the mean square is 2 and the mean magnitude 2: the range is 2 (3.12 - 2.064).
    kernel = jnp.array([[2.0, -2.0], [-2.0, 2.0]])
    q = quantize_sawb(kernel, 2)
    np.testing.assert_allclose(q.scale, 2 * (3.12 - 2.064) / 3, rtol=1e-6)
    np.testing.assert_array_equal(q.codes, [[3, -3], [-3, 3]])
    # Root of the mean square 2.062, mean magnitude 1.625: the range is 3.079, and codes change at
    # 0 and at two thirds of it.
    q = quantize_sawb(jnp.array([2.0, -1.0, 3.4641016, -0.0359]), 2)
    np.testing.assert_array_equal(q.codes, [1, -1, 3, -1])
    assert q.max_code == 3


@pytest.mark.parametrize(("bits", "best"), [(2, 1.4935), (3, 2.051), (4, 2.514)])
def test_the_published_coefficients_fit_a_normal_distribution(bits, best):
    # Ranges of smallest squared error for uniform levels: Max, "Quantizing for Minimum
    # Distortion", 1960, Table II, half the number of levels minus one times the step.
    kernel = jax.random.normal(jax.random.key(0), (200, 200))
    assert abs(quantize_sawb(kernel, bits).scale * (2**bits - 1) / best - 1) < 0.03


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_against_numpy(x64, bits):
    levels = 2**bits - 1
    kernel, g = jax.random.normal(jax.random.key(1), (2, 3, 3, 4, 5), jnp.float64)
    out, pull = jax.vjp(lambda w: quantize_sawb(w, bits).dequantize(), kernel)
    w = np.asarray(kernel)
    square, magnitude = {2: (3.12, -2.064), 3: (7.509, -6.892), 4: (12.68, -12.8)}[bits]
    alpha = square * np.sqrt((w**2).mean()) + magnitude * np.abs(w).mean()
    m = np.round((np.clip(w / alpha, -1, 1) + 1) * levels / 2)
    np.testing.assert_allclose(out, alpha * (2 * m - levels) / levels, atol=1e-12)
    np.testing.assert_allclose(pull(g)[0], g, atol=1e-12)  # outside the range too


def test_a_kernel_of_zeros_gives_zeros():
    kernel = jnp.zeros((2, 3))
    np.testing.assert_array_equal(quantize_sawb(kernel, 2).dequantize(), kernel)
    gradient = jax.grad(lambda w: quantize_sawb(w, 2).dequantize().sum())(kernel)
    np.testing.assert_array_equal(gradient, kernel)


def test_errors():
    with pytest.raises(ValueError, match=r"bits must be from 2 to 4 .*got 5"):
        quantize_sawb(jnp.ones(3), 5)
    with pytest.raises(TypeError, match=r"kernel must be a float.*int32"):
        quantize_sawb(jnp.ones(3, jnp.int32), 2)
