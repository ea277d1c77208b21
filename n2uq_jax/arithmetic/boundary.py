"""A value that evaluation computes once, the same for everybody who reads it."""

import jax
from jax import lax


@jax.custom_vjp
def boundary(x: jax.Array) -> jax.Array:
    """Returns ``x``, behind an optimization barrier outside of differentiation.

    A compiler may compute a value anew in each fusion that reads it, and round differently in
    each. Residual sums, which feed both a quantizer and the next sum, pass this function, so that
    evaluation and export see one and the same value. Training is free to fuse.

    Args:
      x: array of any shape and dtype.

    Returns:
      The same values.
    """
    return lax.optimization_barrier(x)


def _forward(x):
    return x, None


def _backward(_, g):
    return (g,)


boundary.defvjp(_forward, _backward)
