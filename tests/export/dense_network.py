"""The smallest network that has everything: integer products, a chain, a quantizer, a scale."""

import functools

import jax.numpy as jnp
import numpy as np

from n2uq_jax.export.program.build import build
from n2uq_jax.export.trace.model import trace_model
from n2uq_jax.quantizers import quantize_activation

SHAPE = (1, 1, 2)
WEIGHT = np.array([[2, -3, 1], [-1, 5, 0]], np.int8)
GAIN = np.float32([0.01, -0.004, 0])
BIAS = np.float32([-0.3, 0.7, 0.6])
START, INTERVALS = np.float32(-0.5), np.full(3, 0.5, np.float32)  # thresholds -1/4, 1/4, 3/4


def parameters():
    return {
        "dense": {"kernel": WEIGHT, "gain": GAIN, "bias": BIAS},
        "head": {"start": START, "intervals": INTERVALS, "scale": np.float32(0.5)},
    }


def multiply(layer, images):
    x = images.reshape(-1, 2).astype(jnp.int32)
    return x @ layer["kernel"].astype(jnp.int32)


def affine(layer, sums):
    return sums.astype(jnp.float32) * layer["gain"][None] + layer["bias"][None]


def quantize(layer, u):
    ones = jnp.ones(())
    codes = quantize_activation(u, layer["start"], layer["intervals"], ones, ones).codes
    return codes * layer["scale"]


def network(p, images):
    """Takes uint8 images of two values, and returns three logits."""
    return quantize(p["head"], affine(p["dense"], multiply(p["dense"], images)))


def pixels():
    """Returns 64 images."""
    return np.random.default_rng(0).integers(0, 256, (64, *SHAPE)).astype(np.uint8)


def sums_of(images):
    return images.reshape(-1, 2).astype(np.int64) @ WEIGHT.astype(np.int64)


def codes_of(sums):
    """Counts the thresholds below what the chain makes of sums, in numpy."""
    u = sums * GAIN.astype(np.float64) + BIAS
    return (u[..., None] > [-0.25, 0.25, 0.75]).sum(-1)


@functools.cache
def built():
    """Returns the program of the network, its trace and its parameters."""
    traced, arrays = trace_model((network, parameters()), SHAPE, np.uint8)
    return build(traced, traced.constants(arrays)), traced, arrays
