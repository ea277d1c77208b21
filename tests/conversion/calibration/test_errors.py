import jax.numpy as jnp
import numpy as np
import pytest

from n2uq_jax.conversion.calibration.errors import centered, decorrelation, gain, relative_error


def test_centered_channels_have_mean_zero():
    y = jnp.array([[1.0, 10.0], [3.0, 30.0]])
    np.testing.assert_array_equal(centered(y), [[-1, -10], [1, 10]])
    np.testing.assert_array_equal(centered(y[None]), [[[-1, -10], [1, 10]]])


def test_gain_is_the_least_squares_factor():
    a, t = jnp.array([1.0, 2.0]), jnp.array([2.0, 4.5])
    assert gain(a, t) == pytest.approx(11 / 5)
    assert gain(a, -t) == 1
    assert gain(0 * a, t) == 1
    assert relative_error(a, t) == pytest.approx((1 + 2.5**2) / (4 + 4.5**2))
    assert relative_error(0 * a, 0 * t) == 0


def test_decorrelation_is_what_no_affine_map_a_channel_explains():
    target = jnp.array([[1.0, -1.0, 2.0], [3.0, 1.0, 2.0], [5.0, 0.0, 2.0]])
    scaled = target * jnp.array([[-2.0, 0.5, 1.0]]) + jnp.array([[7.0, 1.0, 3.0]])
    np.testing.assert_allclose(decorrelation(scaled, target), 0, atol=1e-6)
    np.testing.assert_allclose(decorrelation(0 * target, target), 2 / 3, rtol=1e-6)
    other = jnp.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [4.0, 0.0, 0.0]])
    np.testing.assert_allclose(decorrelation(other, target), (0.25 + 1) / 3, rtol=1e-6)
