"""Rounding with the gradient of what was rounded."""

import jax
import jax.numpy as jnp

from n2uq_jax.shapes import Array, Float


@jax.custom_vjp
def straight_through(
    x: Float[Array, "*shape"], rounded: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Returns the second argument, with the gradient of the first.

    Args:
      x: float array.
      rounded: ``x`` rounded to the nearest integers, or to those of a range; same dtype.

    Returns:
      ``rounded``, to the last bit.

    Reference:
      Bengio et al., "Estimating or Propagating Gradients Through Stochastic Neurons",
      arXiv 1308.3432.
    """
    return rounded


straight_through.defvjp(lambda x, rounded: (rounded, None), lambda _, g: (g, jnp.zeros_like(g)))
