import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import n2uq_jax as n2uq
from n2uq_jax.nn.integer import grids
from n2uq_jax.paths import by_path
from n2uq_jax.quantizers import quantize_symmetric

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
SIZES = {"num_classes": 5, "width": 4, "rngs": nnx.Rngs(0)}


def create(name="resnet8", **kwargs):
    kwargs = {"w_bits": 2, "a_bits": 2, **SIZES, "rngs": nnx.Rngs(0), **kwargs}
    return n2uq.models.create(name, **kwargs)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (16, 12, 12, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def trained(images):
    """A network of the paper's form with unkind parameters and running statistics."""
    model = create(w_bits=4, a_bits=4)
    rng = np.random.default_rng(1)
    for _, layer in nnx.iter_modules(model):
        for attribute in ("slope", "bias_in", "bias_out"):
            if hasattr(layer, attribute):
                value = getattr(layer, attribute)
                value[...] += jnp.float32(rng.normal(size=value.shape) * 0.2)
    step = nnx.jit(lambda model, x: model(x))
    for _ in range(20):
        step(model, normalized(images))
    model.eval()
    return model


def normalized(images):
    return jnp.asarray((images / 255 - np.float32(MEAN)) / np.float32(STD), jnp.float32)


@pytest.fixture(scope="module")
def integer(trained, images):
    return n2uq.to_integer_only(trained, [images[:8], images[8:]], mean=MEAN, std=STD)


@jax.jit
def run(model, x):
    return model(x)


@pytest.fixture(scope="module")
def logits(integer, images):
    return np.asarray(run(integer, images))


def test_logits_are_close_to_those_of_the_paper_form(trained, logits, images):
    before = np.asarray(run(trained, normalized(images)))
    assert np.corrcoef(before.ravel(), logits.ravel())[0, 1] > 0.99
    assert np.abs(before - logits).max() < 0.2 * np.abs(before).max()


def test_logits_are_integers_times_one_scale(integer, logits):
    kernel = quantize_symmetric(integer.head.kernel[...], 8, per_channel=False)
    steps = logits / (np.float64(kernel.scale) * np.float64(integer.head.grid.scale))
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-2)
    assert np.abs(steps).max() > 100


def test_parameters_are_those_of_the_paper_form(trained, integer):
    theirs, ours = by_path(nnx.state(trained, nnx.Param)), by_path(nnx.state(integer, nnx.Param))
    assert {k: v.shape for k, v in theirs.items()} == {k: v.shape for k, v in ours.items()}
    for name, value in theirs.items():
        np.testing.assert_array_equal(value, ours[name])


def test_training_arithmetic_with_running_statistics_is_close(integer, logits, images):
    model = nnx.clone(integer)
    model.set_attributes(deterministic=False, raise_if_not_found=False)
    floats, ints = (nnx.jit(lambda m, x: m.stem(x))(m, images) for m in (model, integer))
    assert floats.codes.dtype == jnp.float32
    assert ints.codes.dtype == jnp.int32
    distance = np.abs(np.asarray(floats.codes) - np.asarray(ints.codes))
    assert distance.max() <= 8  # the multiplier has 10 bits, the stream 16
    assert np.asarray(ints.codes).max() > 2**12
    floats = np.asarray(nnx.jit(lambda m, x: m(x))(model, images))
    assert np.corrcoef(floats.ravel(), logits.ravel())[0, 1] > 0.99


@pytest.mark.slow
def test_it_trains(integer, images):
    model = nnx.clone(integer)
    model.train()
    labels = jnp.arange(16) % 5

    def loss(model, x):
        logits = model(x)
        return -(jax.nn.log_softmax(logits)[jnp.arange(16), labels]).mean()

    step = nnx.jit(nnx.value_and_grad(loss))
    losses = []
    for _ in range(8):
        value, grads = step(model, images)
        losses.append(float(value))
        params = nnx.state(model, nnx.Param)
        nnx.update(model, jax.tree.map(lambda p, g: p - 0.05 * g, params, grads))
    assert all(float(jnp.abs(g).max()) > 0 for g in jax.tree.leaves(grads))
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 12])
def test_stream_bits(trained, images, bits):
    model = n2uq.to_integer_only(trained, [images], mean=MEAN, std=STD, stream_bits=bits)
    assert int(jnp.abs(model.stem(images).codes).max()) < 2 ** (bits - 1)
    assert {g.bits for g in grids(model).values()} == {bits, 8}


def test_pixels_must_be_uint8(integer, images):
    assert integer.image_dtype == jnp.uint8
    with pytest.raises(TypeError, match="uint8"):
        integer(normalized(images))


def test_options_want_integer_only():
    with pytest.raises(TypeError, match="stream_bits wants integer_only=True"):
        create(stream_bits=16)
    with pytest.raises(ValueError, match="must be False for the float network"):
        n2uq.models.create("torchvision/resnet18", integer_only=True, rngs=nnx.Rngs(0))


def test_what_to_integer_only_does_not_take(images):
    with pytest.raises(ValueError, match="float twin"):
        n2uq.to_integer_only(create(w_bits=None, a_bits=None), [images])
    converted = nnx.Sequential(nnx.Linear(3, 3, rngs=nnx.Rngs(0)))
    with pytest.raises(TypeError, match=r"n2uq_jax\.nn\.integer"):
        n2uq.to_integer_only(converted, [images])
    with pytest.raises(ValueError, match="at least one batch"):
        n2uq.to_integer_only(create(), [])
