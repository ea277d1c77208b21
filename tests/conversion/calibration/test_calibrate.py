import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import n2uq_jax as n2uq
from tests.conversion.models import CNN, Scanned, Shared, images


def state(model):
    arrays = nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))
    return jax.tree.map(np.asarray, nnx.to_pure_dict(arrays))


class Layers(nnx.Module):
    """Two linear layers with a ReLU between them."""

    def __init__(self, *, signed=False, w_bits=8, a_bits=4, **kwargs):
        self.first, self.second = (
            n2uq.nn.QuantLinear(
                3, 3, w_bits=w_bits, a_bits=a_bits, signed=signed, rngs=nnx.Rngs(i), **kwargs
            )
            for i in range(2)
        )

    def __call__(self, x):
        return self.second(nnx.relu(self.first(x)))


def data(n=256):
    return 5 + 2 * jax.random.normal(jax.random.key(0), (n, 3))


def test_lowers_the_error_of_every_layer_and_fits_the_scale():
    model = Layers()
    target = nnx.clone(model)
    target.first, target.second = (
        n2uq.nn.QuantLinear(3, 3, w_bits=8, a_bits=None, rngs=nnx.Rngs(i)) for i in range(2)
    )

    def error():
        return float(jnp.mean((model(data()) - target(data())) ** 2))

    before = error()
    chosen = n2uq.calibrate(model, [data()])
    assert error() < before / 50
    assert list(chosen) == ["first/input_quantizer", "second/input_quantizer"]
    assert all(result.error < 0.01 for result in chosen.values())


def test_several_batches_are_one():
    models = [Layers(), Layers()]
    n2uq.calibrate(models[0], [data()])
    n2uq.calibrate(models[1], [(data()[:100], "label"), [data()[100:], None]])
    jax.tree.map(np.testing.assert_array_equal, state(models[0]), state(models[1]))


def test_the_sign_is_chosen_from_data_where_it_is_open():
    model = Layers(signed=None)
    chosen = n2uq.calibrate(model, [data() - 5])
    assert (model.first.input_quantizer.signed, model.second.input_quantizer.signed) == (
        True,
        False,
    )
    assert [result.signed for result in chosen.values()] == [True, False]
    decided = Layers(signed=True)
    n2uq.calibrate(decided, [data() - 5])
    assert decided.second.input_quantizer.signed is True


def test_thresholds_per_channel_start_out_equal():
    whole, split = Layers(), Layers(per_channel=True)
    for model in (whole, split):
        n2uq.calibrate(model, [data()])
    np.testing.assert_array_equal(
        split.first.input_quantizer.intervals[...],
        np.repeat(whole.first.input_quantizer.intervals[...][:, None], 3, axis=1),
    )
    np.testing.assert_allclose(split(data()), whole(data()), rtol=1e-5)
    for name in ("in_scale", "out_scale"):  # and are not those of a new quantizer
        assert (getattr(split.first.input_quantizer, name)[...] != 1).all()


@pytest.mark.slow
def test_weights_stay_and_dropout_is_off():
    model = n2uq.quantize(CNN(nnx.Rngs(0)), [n2uq.Rule(".*", 4, 4)])
    before = state(model)
    n2uq.calibrate(model, [images(16)])
    after = state(model)
    for name in ("conv1", "conv2", "linear1", "linear2"):
        np.testing.assert_array_equal(after[name]["kernel"], before[name]["kernel"])
    np.testing.assert_array_equal(after["batch_norm1"]["scale"], before["batch_norm1"]["scale"])
    assert np.abs(after["batch_norm2"]["mean"] - before["batch_norm2"]["mean"]).max() > 0
    assert model.dropout.deterministic is False
    assert model.batch_norm1.use_running_average is False


@pytest.mark.slow
def test_a_level_may_be_anywhere_if_batch_norm_follows():
    class Normalized(nnx.Module):
        def __init__(self, signed):
            self.linear = n2uq.nn.QuantLinear(
                3, 3, w_bits=8, a_bits=2, signed=signed, use_bias=False, rngs=nnx.Rngs(0)
            )
            self.norm = nnx.BatchNorm(3, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.norm(self.linear(x))

    x = jax.random.exponential(jax.random.key(0), (256, 3)) - 1
    unsigned, signed = Normalized(False), Normalized(True)
    (chosen,) = n2uq.calibrate(unsigned, [x]).values()
    n2uq.calibrate(signed, [x])
    assert (chosen.method, chosen.signed) == ("shifted", False)
    target = Normalized(True)
    expected = target.norm(x @ target.linear.kernel[...])

    def error(model):
        return float(jnp.mean((nnx.view(model, use_running_average=True)(x) - expected) ** 2))

    assert error(unsigned) < error(signed)
    (plain,) = n2uq.calibrate(Normalized(False), [x], batch_norm=False).values()
    assert plain.method != "shifted"


@pytest.mark.slow
def test_a_shared_quantizer_is_fitted_to_all_its_inputs():
    model = n2uq.quantize(Shared(nnx.Rngs(0)), [n2uq.Rule("left", 4, 4)])
    n2uq.calibrate(model, [data()])
    quantizer = model.left.input_quantizer
    inputs = nnx.relu(model.stem(data()))
    top = 2 * quantizer.out_scale[...]
    assert inputs.max() < top < 2.2 * inputs.max()  # the second call's input is twice the first's


@pytest.mark.slow
def test_reaches_layers_inside_a_scan():
    model = n2uq.quantize(Scanned(nnx.Rngs(0)), [n2uq.Rule("hidden", 8, 8, signed=False)])
    n2uq.calibrate(model, [data()])
    assert len(set(map(float, model.hidden.input_quantizer.out_scale[...]))) == 3
    undecided = n2uq.quantize(Scanned(nnx.Rngs(0)), [n2uq.Rule("hidden", 8, 8)])
    with pytest.raises(ValueError, match=r"hidden/input_quantizer runs inside .* say signed=True"):
        n2uq.calibrate(undecided, [data()])


def test_a_quantizer_of_its_own_is_fitted_to_its_input():
    class Alone(nnx.Module):
        def __init__(self):
            self.used, self.unused = n2uq.nn.ActivationQuantizer(3), n2uq.nn.ActivationQuantizer(3)

        def __call__(self, x):
            return self.used(x).dequantize()

    model = Alone()
    assert list(n2uq.calibrate(model, [jnp.arange(8.0)[:, None]])) == ["used"]
    np.testing.assert_allclose(model(jnp.arange(8.0)), jnp.arange(8.0), atol=1e-5)
    assert model.unused.in_scale[...] == 1


@pytest.mark.parametrize(
    ("batches", "error", "message"),
    [
        (data(), TypeError, r"batches must be an iterable of batches, got one array"),
        ([{"image": 1}], TypeError, "batch 0 is a dict"),
        ([], ValueError, "at least one batch"),
        ([data(), data(0)], ValueError, r"batch 1 is empty \(shape \(0, 3\)\)"),
        ([jnp.full((2, 3), jnp.nan)], ValueError, "batch 0 has values that are not finite"),
    ],
    ids=["array", "dict", "none", "empty", "nan"],
)
def test_bad_batches_are_errors_and_change_nothing(batches, error, message):
    model = Layers()
    before = state(model)
    with pytest.raises(error, match=message):
        n2uq.calibrate(model, batches)
    jax.tree.map(np.testing.assert_array_equal, before, state(model))


def test_batches_that_the_model_does_not_take_are_errors_that_name_their_shape():
    with pytest.raises(ValueError, match=r"batch 1 has shape \(4, 2\), and batch 0 \(256, 3\)"):
        n2uq.calibrate(Layers(), [data(), jnp.ones((4, 2))])
    with pytest.raises(ValueError, match=r"batch 0 is a scalar"):
        n2uq.calibrate(Layers(), [jnp.ones(())])
    # Examples in place of batches: three of them make a vector of nine features.
    with pytest.raises(
        ValueError, match=r"3 features last, got shape \(9,\).* on batches of shape \(9,\) .* batch"
    ):
        n2uq.calibrate(Layers(), list(data(3)))


@pytest.mark.slow
def test_images_without_a_batch_axis_are_an_error():
    class Net(nnx.Module):
        def __init__(self):
            self.conv = n2uq.nn.QuantConv(1, 2, (3, 3), w_bits=2, a_bits=2, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.conv(x).sum()

    with pytest.raises(
        ValueError, match=r"input of conv/input_quantizer has shape \(32, 8, 1\), without a batch"
    ):
        n2uq.calibrate(Net(), list(images(4)))
    assert list(n2uq.calibrate(Net(), [images(4)])) == ["conv/input_quantizer"]


def test_an_error_on_the_way_changes_nothing():
    model = Layers(signed=None)
    before = state(model)
    with pytest.raises(ZeroDivisionError):
        n2uq.calibrate(model, [data()], forward=lambda m, x: (m(x), 1 / 0))
    jax.tree.map(np.testing.assert_array_equal, before, state(model))
    assert model.first.input_quantizer.signed is None


def test_a_model_without_quantizers_is_an_error():
    with pytest.raises(ValueError, match="model has no quantizer of inputs"):
        n2uq.calibrate(nnx.Linear(2, 2, rngs=nnx.Rngs(0)), [data()])
    with pytest.raises(ValueError, match="no quantizer of inputs was run"):
        n2uq.calibrate(Layers(), [data()], forward=lambda model, x: x)
