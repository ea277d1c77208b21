"""Models that were not written for this library: convert, calibrate, fine-tune, export."""

import functools
import json

import jax
import numpy as np
import optax
import pytest
from flax import nnx

import n2uq_jax as n2uq
from n2uq_jax.conversion.linen import calibrate, take_over
from n2uq_jax.export import export_model
from n2uq_jax.nn.linen import Conv
from tests.conversion.models import CNN, ResNet, ViT, images

LABELS = np.arange(24) % 3


@functools.cache
def seen():
    """The images of training: made when a test wants them, not when it is collected."""
    return np.asarray(images(24))


@functools.cache
def unseen():
    return np.asarray(images(48, seed=1))


def convert_nnx(float_model):
    """Returns an evaluation function, a training function and variables, of an NNX model."""
    model = n2uq.quantize(float_model, [n2uq.Rule(".*", w_bits=4, a_bits=4)])
    chosen = n2uq.calibrate(model, [seen()])
    assert chosen.keys() == n2uq.nn.quantizers(model).keys()
    graph, params, rest = nnx.split(model, nnx.Param, ...)

    def train(params, rest, x):
        copy = nnx.merge(graph, params, rest, copy=True)
        return copy(x), nnx.split(copy, nnx.Param, ...)[2]

    return lambda params, rest: nnx.merge(graph, params, rest), train, params, rest


def convert_linen(float_model):
    """The same of a Linen model, which is told its convolution."""
    model = float_model.clone(conv=functools.partial(Conv, w_bits=2, a_bits=2))
    trained = float_model.init(jax.random.key(0), seen())
    variables = take_over(model.init(jax.random.key(1), seen()), trained)
    variables = calibrate(model, variables, [seen()], train=False)

    def train(params, rest, x):
        logits, rest = model.apply({"params": params, **rest}, x, mutable=["batch_stats"])
        return logits, rest

    def exportable(params, rest):
        evaluate = functools.partial(model.apply, train=False)
        return evaluate, {"params": params, **rest}

    return exportable, train, variables.pop("params"), variables


def fine_tune(train, params, rest, steps=30):
    """Trains on the same few images, as long as it takes to learn them; returns the losses."""
    groups = {"default": optax.adam(3e-3), "quantizer": optax.adam(3e-4)}
    optimizer = optax.partition(groups, n2uq.optimizer_labels)

    @jax.jit
    def step(params, rest, moments):
        def loss(params):
            logits, new = train(params, rest, seen())
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, LABELS)
            return losses.mean(), new

        (value, new), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        updates, moments = optimizer.update(gradients, moments, params)
        return optax.apply_updates(params, updates), new, moments, value

    moments, losses = optimizer.init(params), []
    for _ in range(steps):
        params, rest, moments, value = step(params, rest, moments)
        losses.append(float(value))
    return params, rest, losses


@pytest.mark.slow
@pytest.mark.parametrize(
    ("convert", "model", "quantizers", "folded"),
    [
        (convert_nnx, lambda: CNN(nnx.Rngs(0)), 2, 0),  # pools in front of its quantizers
        (convert_nnx, lambda: ViT(nnx.Rngs(0), depth=1), 6, 1),  # behind GELU
        (convert_linen, ResNet, 5, 2),  # behind BatchNorm and ReLU
    ],
    ids=["cnn", "vit", "linen_resnet"],
)
def test_converts_learns_and_exports_without_a_differing_code(
    convert, model, quantizers, folded, tmp_path, record_property
):
    exportable, train, params, rest = convert(model())
    params, rest, losses = fine_tune(train, params, rest)
    assert np.mean(losses[-3:]) < 0.8 * losses[0]

    trained = exportable(params, rest)
    result = export_model(trained, tmp_path / "a", image_shape=(8, 8, 1), images=unseen())
    proof, data = result.proof, result.proof.data
    assert proof.ok
    assert len(proof.edges) == folded
    assert [edge.differing for edge in proof.edges] == [0] * folded
    assert all(edge.method == "enumeration" and edge.values > 0 for edge in proof.edges)
    assert len(data.layers) == quantizers
    assert all(layer.codes > 0 and layer.differing == 0 for layer in data.layers.values())
    assert all(layer.largest_share < 1 for layer in data.layers.values())
    assert (data.images, data.differing_top1) == (len(unseen()), 0)

    report = json.loads((tmp_path / "a" / "report.json").read_text())
    assert report["verdict"] == "equal"
    assert len(report["unfolded"]) == quantizers - folded
    # The reference isolates values that several layers read; the plain evaluation does not.
    flips, codes = data.plain_flips, sum(layer.codes for layer in data.layers.values())
    assert report["proof"]["data"]["plain_flips"] == flips
    assert flips <= (0.001 * codes if data.shared else 0)
    record_property("plain_flips", f"{flips} of {codes} codes")
    integer = np.asarray(n2uq.load_artifact(tmp_path / "a")(unseen())).argmax(-1)
    np.testing.assert_array_equal(integer, plain_evaluation(trained)(unseen()).argmax(-1))


def plain_evaluation(model):
    """The model as its owner would evaluate it: jitted, and nothing else."""
    if isinstance(model, nnx.Module):
        model.eval()
        return nnx.jit(model)
    evaluate, variables = model
    return functools.partial(jax.jit(evaluate), variables)
