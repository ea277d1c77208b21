import jax
import jax.numpy as jnp
import numpy as np
import pytest

from n2uq_jax.conversion.calibration.fit import (
    decorrelation,
    fit_quantiles,
    fit_shifted_step,
    fit_step,
    gain,
    relative_error,
)
from n2uq_jax.quantizers import effective_intervals, thresholds


@pytest.mark.parametrize("signed", [False, True])
def test_data_that_are_levels_are_fitted_without_error(signed):
    k = jnp.arange(8.0)
    x = 0.3 * ((2 * k - 7) if signed else k)
    fit = fit_step(x, 3, signed=signed)
    np.testing.assert_allclose(fit(x, signed=signed).dequantize(), x, atol=1e-6)
    np.testing.assert_allclose(fit.out_scale, 7 * 0.3 * (1 if signed else 0.5), rtol=1e-6)


@pytest.mark.parametrize(("bits", "step"), [(1, 1.596), (2, 0.9957), (3, 0.5860), (4, 0.3352)])
def test_a_gaussian_gets_the_best_uniform_quantizer_of_the_literature(bits, step):
    # Max, "Quantizing for minimum distortion", 1960, table II.
    x = jax.scipy.special.ndtri((jnp.arange(20000) + 0.5) / 20000)
    fit = fit_step(x, bits, signed=True)
    np.testing.assert_allclose(2 * fit.out_scale / (2**bits - 1), step, rtol=0.01)


def test_thresholds_start_where_those_of_a_new_quantizer_are():
    fit = fit_step(jax.random.uniform(jax.random.key(0), (100,)), 2, signed=False)
    np.testing.assert_allclose(thresholds(fit.start, fit.intervals), [1 / 3, 1, 5 / 3], rtol=1e-6)
    np.testing.assert_allclose(fit.in_scale * fit.out_scale, 1, rtol=1e-6)


def test_an_outlier_does_not_take_the_range():
    x = jnp.append(jax.random.uniform(jax.random.key(0), (10000,)), 3.0)
    assert float(fit_step(x, 3, signed=False).out_scale) < 0.6  # the top level is twice that


@pytest.mark.parametrize("first", [-1.3, 0.0, 5.0])
def test_a_shifted_fit_hits_levels_anywhere_up_to_a_constant(first):
    x = first + 0.3 * jnp.arange(8.0)
    fit = fit_shifted_step(x, 3, signed=False)
    np.testing.assert_array_equal(fit(x, signed=False).codes, jnp.arange(8))
    np.testing.assert_allclose(fit(x, signed=False).dequantize(), x - first, atol=1e-5)


def test_a_shifted_fit_suits_an_asymmetric_input():
    x = jax.random.exponential(jax.random.key(0), (20000,)) - 0.7

    def left(fit, signed):
        return float(jnp.var(fit(x, 3, signed=signed)(x, signed=signed).dequantize() - x))

    assert left(fit_shifted_step, False) < 0.8 * min(left(fit_step, False), left(fit_step, True))
    with pytest.raises(ValueError, match="signed must be False"):
        fit_shifted_step(x, 3, signed=True)


@pytest.mark.parametrize("signed", [False, True])
def test_quantiles_make_codes_about_equally_frequent(signed):
    x = jax.random.laplace(jax.random.key(0), (20000,))
    fit = fit_quantiles(x, 3, signed=signed)
    codes = fit(x if signed else jnp.abs(x), signed=signed).codes
    counts = np.unique(np.asarray(codes), return_counts=True)[1] / x.size
    assert counts.shape == (8,)
    assert counts.min() > 0.04
    assert counts.max() < 0.2
    np.testing.assert_array_equal(effective_intervals(fit.intervals), fit.intervals)


def test_quantiles_ignore_what_a_relu_cuts():
    x = jax.random.normal(jax.random.key(0), (1000,))
    whole, cut = (fit_quantiles(v, 2, signed=False) for v in (x, jax.nn.relu(x)))
    np.testing.assert_array_equal(whole.intervals, cut.intervals)
    assert whole.start == 0


@pytest.mark.parametrize("fit", [fit_step, fit_quantiles])
@pytest.mark.parametrize("signed", [False, True])
def test_no_spread_gives_a_new_quantizer(fit, signed):
    result = fit(jnp.zeros((10,)), 2, signed=signed)
    assert (result.start, result.in_scale, result.out_scale) == (-1.0 if signed else 0.0, 1, 1)
    np.testing.assert_allclose(result.intervals, 2 / 3)


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
