"""The paper's networks against the authors' PyTorch code, in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from n2uq_jax import models
from n2uq_jax.interop import load_n2uq_state_dict, save_n2uq_state_dict
from tests import golden

NETWORKS = ["resnet18_w2a2", "resnet18_w3a3_fp_downsample", "resnet50_w3a3", "mobilenet_v2_w4a4"]


def build(expected):
    bits, arch = int(expected["bits"]), str(expected["arch"])
    quantize_downsample = bool(expected["quantize_downsample"])

    @nnx.eval_shape
    def model():
        return models.create(
            arch,
            w_bits=bits,
            a_bits=bits,
            quantize_downsample=quantize_downsample,
            dtype=jnp.float64,
            param_dtype=jnp.float64,
            rngs=nnx.Rngs(0),
        )

    table = arch if quantize_downsample else f"{arch}_fp_downsample"
    state = golden.state_dict(
        table,
        bits,
        int(expected["seed"]),
        negative_slopes=bool(expected["negative_slopes"]),
    )
    load_n2uq_state_dict(model, state)
    return model


@functools.partial(jax.jit, static_argnums=0)
def evaluate(graph, state, images):
    return nnx.merge(graph, state, copy=True)(images)


@functools.partial(jax.jit, static_argnums=0)
def train(graph, params, rest, images, cotangent):
    def loss(params):
        logits = nnx.merge(graph, params, rest, copy=True)(images)
        return (logits * cotangent).sum(), logits

    return jax.grad(loss, has_aux=True)(params)


def inputs(expected):
    """The images as NHWC, and the cotangent of the logits."""
    seed, size, batch = (int(expected[key]) for key in ("seed", "size", "batch"))
    images = golden.rng(seed, "input").normal(0, 1, (batch, 3, size, size)).transpose(0, 2, 3, 1)
    return images, golden.rng(seed, "cotangent").normal(0, 1, (batch, 1000))


@pytest.mark.parametrize(
    "name",
    [n if n == "resnet18_w2a2" else pytest.param(n, marks=pytest.mark.slow) for n in NETWORKS],
)
def test_logits_equal_the_authors(name, x64):
    expected = np.load(golden.DATA / f"{name}.npz")
    model = build(expected)
    model.eval()
    logits = evaluate(*nnx.split(model), jnp.asarray(inputs(expected)[0]))
    np.testing.assert_allclose(
        logits, expected["logits_eval"], rtol=0, atol=1e-8 * expected["logits_eval"].std()
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_training_equals_the_authors(name, x64):
    expected = np.load(golden.DATA / f"{name}.npz")
    model = build(expected)
    model.train()
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    gradients, logits = train(graph, params, rest, *map(jnp.asarray, inputs(expected)))
    np.testing.assert_allclose(
        logits, expected["logits_train"], rtol=0, atol=1e-8 * expected["logits_train"].std()
    )

    # Stored in place of the parameters, the gradients come out under the authors' names.
    nnx.update(model, gradients)
    by_name = save_n2uq_state_dict(model)
    assert len(expected["grad_keys"]) == len(jax.tree.leaves(params))
    for key, total, norm in zip(
        expected["grad_keys"], expected["grad_sum"], expected["grad_l2"], strict=True
    ):
        gradient = by_name[str(key)]
        assert gradient.sum() == pytest.approx(total, rel=0, abs=1e-6 * norm), key
        assert np.linalg.norm(gradient) == pytest.approx(norm, rel=1e-6), key
