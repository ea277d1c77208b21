import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import n2uq_jax as n2uq
from n2uq_jax.conversion.calibration import choose as module
from n2uq_jax.conversion.calibration.choose import choose, possible_signs, sample


def layer(**kwargs):
    return n2uq.nn.QuantLinear(3, 4, w_bits=4, a_bits=2, rngs=nnx.Rngs(0), **kwargs)


def inputs(n=64):
    # One feature has long tails: what suits the values does not suit their products.
    x = jax.random.normal(jax.random.key(0), (n, 3))
    return x * jnp.abs(x) ** jnp.arange(3.0)[None]


@pytest.mark.parametrize(("normalized", "use_bias"), [(False, True), (True, False)])
def test_refining_lowers_the_error_of_the_output(monkeypatch, normalized, use_bias):
    arguments = (inputs().reshape(-1), 2, (True,), layer(use_bias=use_bias), inputs())
    refined, _ = choose(*arguments, normalized=normalized)
    monkeypatch.setattr(module, "WIDTHS", ())
    plain, _ = choose(*arguments, normalized=normalized)
    assert refined.method == plain.method
    assert 0 < refined.error < 0.95 * plain.error


def test_the_error_is_that_of_the_chosen_parameters_without_the_bias():
    net = layer()
    net.bias[...] = jnp.arange(4.0)
    bias, quantizer = net.bias, net.input_quantizer
    chosen, fit = choose(inputs().reshape(-1), 2, (True,), net, inputs())
    assert net.bias is bias
    assert net.input_quantizer is quantizer
    for name, value in fit._asdict().items():
        getattr(quantizer, name)[...] = value
    quantizer.signed = chosen.signed
    target = inputs() @ net.kernel[...]
    error = jnp.sum((net(inputs()) - net.bias[...][None] - target) ** 2) / jnp.sum(target**2)
    np.testing.assert_allclose(chosen.error, error, rtol=1e-5)


def test_quantiles_are_no_candidate_where_thresholds_lie_at_equal_distances(monkeypatch):
    fit_step = module.fit_step

    def poor(samples, bits, *, signed):
        return fit_step(1e-3 * samples, bits, signed=signed)

    monkeypatch.setattr(module, "fit_step", poor)
    arguments = (inputs().reshape(-1), 2, (True,), layer(), inputs())
    assert choose(*arguments)[0].method == "quantiles"
    chosen, fit = choose(*arguments, equal=True)
    assert chosen.method == "step"
    np.testing.assert_allclose(fit.intervals, fit.intervals[0], rtol=1e-5)


def test_signs_to_try():
    assert possible_signs(True, jnp.ones(2)) == (True,)
    assert possible_signs(None, jnp.arange(2)) == (False,)
    assert possible_signs(None, -jnp.arange(2)) == (False, True)


def test_samples_are_all_values_or_some_of_them():
    few = jnp.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(sample(few), jnp.arange(6.0))
    many = sample(jnp.arange(3.0 * module.SAMPLES).reshape(3, -1))
    assert many.shape == (module.SAMPLES,)
    assert abs(many.mean() / (1.5 * module.SAMPLES) - 1) < 0.02
    with pytest.raises(ValueError, match="the input of a quantizer is not finite"):
        sample(jnp.array([1.0, jnp.inf]))
