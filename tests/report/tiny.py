"""A network that takes no time."""

from flax import nnx

from n2uq_jax.nn import BatchNorm, QuantLinear


class Tiny(nnx.Module):
    def __init__(self, rngs, a_bits=2):
        self.norm = BatchNorm(64, rngs=rngs)
        if a_bits is None:
            self.linear = nnx.Linear(64, 3, rngs=rngs)
        else:
            self.linear = QuantLinear(64, 3, w_bits=2, a_bits=a_bits, rngs=rngs)

    def __call__(self, images):
        return self.linear(self.norm(images.reshape(-1, 64)))
