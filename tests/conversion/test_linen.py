import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import n2uq_jax as n2uq
from n2uq_jax.conversion.linen import calibrate, quantize, take_over
from n2uq_jax.nn.linen import Conv, Dense
from tests.conversion.models import ResNet, images


def quantized(**bits):
    return ResNet(conv=functools.partial(Conv, **bits))


@pytest.mark.slow
def test_a_float_network_is_taken_over_and_calibrated():
    x = images(32)
    plain, model = ResNet(), quantized(w_bits=8, a_bits=4)
    trained = plain.init(jax.random.key(0), x)
    variables = take_over(model.init(jax.random.key(1), x), trained)
    np.testing.assert_array_equal(
        variables["params"]["Conv_0"]["kernel"], trained["params"]["Conv_0"]["kernel"]
    )
    result = calibrate(model, variables, [(x, None)], train=False)
    assert result["params"].keys() == variables["params"].keys()
    expected, _ = plain.apply(trained, x, mutable=["batch_stats"])
    y = model.apply(result, x, train=False)
    before = model.apply(variables, x, train=False)
    assert jnp.mean((y - expected) ** 2) < 0.2 * jnp.mean((before - expected) ** 2)
    # Evaluation now normalizes as a training batch of the same images does.
    training, _ = model.apply(result, x, mutable=["batch_stats"])
    np.testing.assert_allclose(y, training, atol=1e-4)


def test_thresholds_equal_those_of_nnx():
    x = jax.random.uniform(jax.random.key(0), (64, 3), maxval=3.0)
    layer = Dense(4, w_bits=3, a_bits=2)
    variables = layer.init(jax.random.key(0), x)
    result = calibrate(layer, variables, [x[:10], x[10:]])["params"]

    other = n2uq.nn.QuantLinear(3, 4, w_bits=3, a_bits=2, rngs=nnx.Rngs(0))
    other.kernel[...] = variables["params"]["kernel"]
    n2uq.calibrate(other, [x])
    for name, value in result["input_quantizer"].items():
        np.testing.assert_array_equal(value, getattr(other.input_quantizer, name)[...])
    assert variables["params"]["input_quantizer"]["in_scale"] == 1


class HardCoded(linen.Module):
    """A model that takes no layers as arguments, and is nested."""

    features: int = 3

    @linen.compact
    def __call__(self, x, train=False):
        return linen.Dense(2, name="head")(Hidden(self.features)(linen.Dense(4, name="stem")(x)))


class Hidden(linen.Module):
    features: int
    layer: type = linen.Dense

    @linen.compact
    def __call__(self, x):
        return linen.relu(self.layer(self.features, name="dense")(linen.relu(x)))


def test_hard_coded_layers_are_quantized_where_they_are_called():
    x = jax.random.normal(jax.random.key(0), (16, 5))
    model = HardCoded(features=6)
    rules = [n2uq.Rule("stem|head"), n2uq.Rule(".*", w_bits=3, a_bits=2)]
    quantized = quantize(model, rules)
    assert isinstance(quantized, HardCoded)
    assert quantized.features == 6
    trained = model.init(jax.random.key(1), x)
    variables = take_over(quantized.init(jax.random.key(2), x), trained)
    assert variables["params"]["Hidden_0"]["dense"].keys() == {"kernel", "bias", "input_quantizer"}
    assert variables["params"]["head"].keys() == {"kernel", "bias"}
    result = calibrate(quantized, variables, [x])
    # What a model gives that is built with the layer in its place, on the same parameters.
    layer = functools.partial(Dense, w_bits=3, a_bits=2)
    params = result["params"]
    stem = linen.Dense(4).apply({"params": params["stem"]}, x)
    hidden = Hidden(6, layer).apply({"params": params["Hidden_0"]}, stem)
    expected = linen.Dense(2).apply({"params": params["head"]}, hidden)
    np.testing.assert_array_equal(quantized.apply(result, x), expected)
    assert not np.array_equal(model.apply(trained, x), expected)


def test_rules_that_cannot_be_followed_are_refused():
    x = jnp.ones((1, 5))
    with pytest.raises(
        ValueError, match=r"'tail' matches no .* there are: stem, Hidden_0/dense, h"
    ):
        quantize(HardCoded(), [n2uq.Rule("tail", w_bits=2)]).init(jax.random.key(0), x)
    with pytest.raises(ValueError, match="have N2UQ alone, got method='lsq'"):
        quantize(HardCoded(), [n2uq.Rule("stem", w_bits=2, a_bits=2, method="lsq")])
    with pytest.raises(TypeError, match="module must be a Linen module, got int"):
        quantize(3, [])
    with pytest.raises(TypeError, match="rules must be a sequence"):
        quantize(HardCoded(), ["stem"])


@pytest.mark.parametrize("nothing", [{}, {"params": {}}])
def test_there_must_be_something_to_take_over(nothing):
    variables = Dense(4, w_bits=3, a_bits=2).init(jax.random.key(0), jnp.ones((1, 3)))
    with pytest.raises(ValueError, match="nothing to take over"):
        take_over(variables, nothing)


@pytest.mark.slow
def test_running_statistics_can_stay():
    model = quantized(w_bits=2, a_bits=2)
    variables = model.init(jax.random.key(0), images(4))
    result = calibrate(model, variables, [images(4)], batch_norm=False, train=False)
    jax.tree.map(np.testing.assert_array_equal, result["batch_stats"], variables["batch_stats"])


def test_thresholds_per_channel_start_out_equal():
    layer = Dense(4, w_bits=3, a_bits=2, per_channel=True)
    x = jax.random.uniform(jax.random.key(0), (64, 3), maxval=3.0)
    quantizer = calibrate(layer, layer.init(jax.random.key(0), x), [x])["params"]["input_quantizer"]
    assert quantizer["intervals"].shape == (3, 3)
    assert len(set(map(float, quantizer["in_scale"]))) == 1
    assert (quantizer["in_scale"] != 1).all()  # as that of a new quantizer is


def test_what_cannot_be_calibrated_is_an_error():
    x = jnp.ones((2, 3))
    plain = linen.Dense(3)
    with pytest.raises(ValueError, match=r"no ActivationQuantizer of n2uq_jax.nn.linen was run"):
        calibrate(plain, plain.init(jax.random.key(0), x), [x])
    compiled = linen.jit(Dense)(3, w_bits=2, a_bits=2)
    with pytest.raises(ValueError, match="input_quantizer runs inside a transformation"):
        calibrate(compiled, compiled.init(jax.random.key(0), x), [x])


def test_variables_that_do_not_fit_are_errors():
    variables = {"params": {"kernel": jnp.zeros((2, 3))}}
    with pytest.raises(ValueError, match="trained has params/bias, which the quantized network"):
        take_over(variables, {"params": {"bias": jnp.zeros(3)}})
    with pytest.raises(ValueError, match=r"kernel of shape \(3, 3\), but .* \(2, 3\)"):
        take_over(variables, {"params": {"kernel": jnp.zeros((3, 3))}})
