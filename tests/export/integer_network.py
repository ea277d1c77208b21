"""A network that is integer arithmetic from pixels to logits, written by hand."""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from n2uq_jax.arithmetic.convolution import Convolution
from n2uq_jax.arithmetic.product import multiply_codes
from n2uq_jax.quantizers import quantize_activation, quantize_weight

SHAPE = (6, 6, 3)
DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def parameters(seed=0, channels=3, classes=5):
    """Returns float parameters of the blocks, and integer ones of stem and head."""
    rng = np.random.default_rng(seed)
    stem = {
        "kernel": rng.integers(-127, 128, (3, 3, channels, 8)).astype(np.int8),
        "multiplier": rng.integers(-60, 60, 8).astype(np.int32),
        "offset": rng.integers(-9999, 9999, 8).astype(np.int32),
    }
    block = {
        "start": np.float32(-0.6),
        "intervals": np.full(3, 0.4, np.float32),
        "slope": rng.uniform(-0.3, 0.5, 8).astype(np.float32),
        "bias": rng.normal(0, 0.2, 8).astype(np.float32),
        "kernel": rng.normal(size=(3, 3, 8, 8)).astype(np.float32),
        "gain": rng.normal(0, 1, 8).astype(np.float32),
    }
    head = {
        "kernel": rng.integers(-127, 128, (8, classes)).astype(np.int8),
        "bias": rng.integers(-999, 999, classes).astype(np.int32),
        "start": np.float32(-0.5),
        "intervals": np.full(3, 0.5, np.float32),
    }
    return {"stem": stem, "block": block, "head": head}


def convolve(x, kernel):
    return lax.conv_general_dilated(
        x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=DIMENSIONS
    )


def row(values):
    """Returns one number a channel in a shape that broadcasts over images."""
    return jnp.asarray(values).reshape(1, 1, 1, -1)


def rescale(acc, multiplier, offset, shift):
    """``clamp((M * acc + B) >> S)``: what a BatchNorm is in evaluation."""
    moved = (row(multiplier) * acc + row(offset)) >> shift
    return jnp.clip(moved, -2047, 2047)


def quantize(p, x):
    ones = jnp.ones(())
    return quantize_activation(x, p["start"], p["intervals"], ones, ones)


def network(p, images):
    stem, block, head = p["stem"], p["block"], p["head"]
    x = images.astype(jnp.int32) - 120
    acc = convolve(x, stem["kernel"].astype(jnp.int32))
    stream = rescale(acc, stem["multiplier"], stem["offset"], 12)
    # A float chain on the stream, then codes, a product of codes, and the sum.
    u = stream.astype(jnp.float32) / 256 + row(block["bias"])
    u = jnp.where(u >= 0, u, row(block["slope"]) * u)
    codes = quantize(block, u).codes
    weight = quantize_weight(block["kernel"], 2)
    acc = sums_of_codes(codes, weight.codes)
    gain = checkpoint_name(jnp.round(block["gain"] * 99).astype(jnp.int32), "multiplier")
    stream = jnp.clip(stream + rescale(acc, gain, jnp.int32(50), 4), -2047, 2047)
    stream = lax.reduce_window(stream, -(2**31), lax.max, (1, 2, 2, 1), (1, 2, 2, 1), ((0, 0),) * 4)
    pooled = stream.sum((1, 2))
    codes = quantize(head, pooled.astype(jnp.float32) / 2048).codes
    logits = codes.astype(jnp.int32) @ head["kernel"].astype(jnp.int32) + head["bias"][None]
    return logits.astype(jnp.float32) * jnp.float32(0.01)


def sums_of_codes(codes, weight):
    """Returns the sums of a product of codes as integers."""
    sums = multiply_codes(Convolution((1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1)), codes, weight)
    return sums.astype(jnp.int32)


def pixels(n, seed=3):
    return np.random.default_rng(seed).integers(0, 256, (n, *SHAPE)).astype(np.uint8)
