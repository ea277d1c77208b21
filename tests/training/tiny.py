"""A small network in double precision, and batches for it."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from n2uq_jax.models.resnet import ResNet, ResNetShape
from n2uq_jax.training.step import Pixels

BATCH = 16


def tiny(bits=2, widths=(8, 16)):
    """Blocks with random parameters, so that no value sits on a kink by construction."""
    blocks = (1,) * len(widths)
    model = ResNet(
        ResNetShape("basic", blocks, widths, stem="small", in_features=1),
        num_classes=3,
        w_bits=bits,
        a_bits=bits,
        dtype=jnp.float64,
        param_dtype=jnp.float64,
        rngs=nnx.Rngs(0),
    )
    rng = np.random.default_rng(1)
    params = nnx.state(model, nnx.Param)
    nnx.update(model, jax.tree.map(lambda p: p + rng.normal(0, 0.1, p.shape), params))
    return model


def batch(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "image": jnp.asarray(rng.integers(0, 256, (BATCH, 8, 8, 1)), jnp.uint8),
        "label": jnp.asarray(rng.integers(0, 3, BATCH), jnp.int32),
    }


PIXELS = Pixels((0.5,), (0.25,), "float64")
