"""Small networks with unkind parameters, and their integer programs."""

import functools

import jax.numpy as jnp
import numpy as np
from flax import nnx

from n2uq_jax import models
from n2uq_jax.export import build_program
from n2uq_jax.models.forms import PreActivation
from n2uq_jax.models.layers import Precision
from n2uq_jax.models.mobilenet_v2 import InvertedResidual, inverted_block
from n2uq_jax.models.resnet import ResNet, ResNetShape


def make_unkind(model, seed=0):
    """Draws the parameters of every channel's arithmetic: some negative, zero or tiny."""
    rng = np.random.default_rng(seed)
    for path, variable in nnx.to_flat_state(nnx.state(model)):
        name, shape = str(path[-1]), variable[...].shape
        if name == "scale" and "norm" in str(path[-2]):
            value = rng.normal(size=shape)
            value[:4] = [0, 1e-6, -1e-6, -1]
        elif name == "mean":
            value = rng.normal(0, 0.3, shape)
        elif name == "var":
            value = rng.uniform(0.2, 2, shape)
        elif name == "slope":
            value = rng.uniform(-0.5, 0.5, shape)
        elif name == "start":
            value = rng.uniform(-0.6, -0.1, shape)
        elif name.startswith("bias"):
            value = rng.normal(0, 0.3, shape)
        else:
            continue
        variable[...] = jnp.asarray(value, jnp.float32)
    return model


def images(n, shape=(8, 8, 1), seed=1):
    return np.random.default_rng(seed).normal(size=(n, *shape)).astype(np.float32)


class Inverted(nnx.Module):
    """Two inverted residual blocks, the second with a sum, between a float stem and head."""

    def __init__(self, bits, rngs):
        form = PreActivation(Precision(bits, bits))
        self.conv = nnx.Conv(1, 8, (3, 3), padding=1, rngs=rngs)
        self.blocks = nnx.List(
            [
                InvertedResidual(inverted_block(8, 8, 2, 2), form=form, rngs=rngs),
                InvertedResidual(inverted_block(8, 8, 3, 1), form=form, rngs=rngs),
            ]
        )
        self.head = nnx.Linear(8, 5, rngs=rngs)

    def __call__(self, x):
        x = self.conv(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((1, 2)))


def resnet8():
    return make_unkind(
        models.create(
            "resnet8", w_bits=2, a_bits=2, num_classes=10, in_features=1, width=8, rngs=nnx.Rngs(0)
        )
    )


def bottlenecks():
    return make_unkind(
        ResNet(
            ResNetShape("bottleneck", (1, 2), (8, 8), in_features=1),
            num_classes=7,
            w_bits=2,
            a_bits=2,
            rngs=nnx.Rngs(1),
        )
    )


def inverted():
    return make_unkind(Inverted(4, nnx.Rngs(2)))


NETWORKS = {
    # network, shape of its images, the folded quantizers and the layers whose sums they read.
    "resnet8": (
        resnet8,
        (8, 8, 1),
        {
            f"stages/{i}/0/units/1/conv/input_quantizer": f"stages/{i}/0/units/0/conv"
            for i in range(3)
        },
    ),
    "bottlenecks": (
        bottlenecks,
        (16, 16, 1),
        {
            f"stages/{block}/units/{j}/conv/input_quantizer": f"stages/{block}/units/{j - 1}/conv"
            for block in ("0/0", "1/0", "1/1")
            for j in (1, 2)
        },
    ),
    "inverted": (
        inverted,
        (8, 8, 1),
        {
            f"blocks/{i}/units/{j}/conv/input_quantizer": f"blocks/{i}/units/{j - 1}/conv"
            for i in (0, 1)
            for j in (1, 2)
        }
        | {"blocks/1/units/0/conv/input_quantizer": "blocks/0/units/2/conv"},
    ),
}


@functools.cache
def built(name):
    """Returns one of the networks and its program."""
    make, shape, _ = NETWORKS[name]
    model = make()
    return model, build_program(model, shape)
