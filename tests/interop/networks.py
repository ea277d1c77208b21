"""Networks for these tests, made without compiling their initializers."""

import jax
import numpy as np
from flax import nnx

from n2uq_jax import models


def abstract(name, bits=None, **kwargs):
    """Returns a network whose variables have shapes and no values."""
    return nnx.eval_shape(
        lambda: models.create(name, w_bits=bits, a_bits=bits, rngs=nnx.Rngs(0), **kwargs)
    )


def seeded(name, bits=None, **kwargs):
    """Returns a network of seeded positive values."""
    network = abstract(name, bits, **kwargs)
    rng = np.random.default_rng(0)
    nnx.update(
        network,
        jax.tree.map(
            lambda leaf: rng.uniform(1, 9, leaf.shape).astype(leaf.dtype), nnx.state(network)
        ),
    )
    return network
