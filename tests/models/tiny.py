"""A float network of two layers and its quantized twin."""

import numpy as np
from flax import nnx

from n2uq_jax.nn import QuantLinear
from n2uq_jax.paths import by_path


class Tiny(nnx.Module):
    def __init__(self, seed, quantized, features=3):
        rngs = nnx.Rngs(seed)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        if quantized:
            self.linear = QuantLinear(4, features, w_bits=2, a_bits=2, rngs=rngs)
        else:
            self.linear = nnx.Linear(4, features, rngs=rngs)


def arrays(model):
    return {name: np.asarray(value) for name, value in by_path(nnx.state(model)).items()}
