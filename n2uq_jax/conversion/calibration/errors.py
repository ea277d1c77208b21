"""How far an approximation is from its target, and the factor that brings it closest."""

import jax
import jax.numpy as jnp


def gain(approximation: jax.Array, target: jax.Array) -> jax.Array:
    """Returns the factor of ``approximation`` that makes its squared error smallest.

    Args:
      approximation: any shape.
      target: the same shape.

    Returns:
      Shape ``()``, float32 or wider; 1 where no positive factor helps.
    """
    dtype = jnp.promote_types(target.dtype, jnp.float32)
    a, t = approximation.astype(dtype), target.astype(dtype)
    power, product = jnp.sum(a * a), jnp.sum(a * t)
    return jnp.where((power > 0) & (product > 0), product / jnp.where(power > 0, power, 1), 1.0)


def relative_error(approximation: jax.Array, target: jax.Array) -> jax.Array:
    r"""Returns the squared error relative to the target's power.

    .. math:: \sum (a - t)^2 / \sum t^2

    Args:
      approximation: any shape.
      target: the same shape.

    Returns:
      Shape ``()``, float32 or wider; 0 if both are 0.
    """
    dtype = jnp.promote_types(target.dtype, jnp.float32)
    a, t = approximation.astype(dtype), target.astype(dtype)
    power = jnp.sum(t * t)
    return jnp.sum((a - t) ** 2) / jnp.where(power > 0, power, 1)


def centered(y: jax.Array) -> jax.Array:
    """Subtracts the mean of each channel.

    Args:
      y: shape ``(..., channels)``.

    Returns:
      An array of the same shape and dtype.
    """
    return y - y.mean(range(y.ndim - 1), keepdims=True)


def decorrelation(approximation: jax.Array, target: jax.Array) -> jax.Array:
    r"""Returns the relative error that is left after the best affine map a channel.

    .. math:: \frac{1}{C} \sum_c 1 - r_c^2

    Args:
      approximation: shape ``(..., channels)``.
      target: the same shape.

    Returns:
      Shape ``()``, float32 or wider: between 0 and 1. A channel whose target is constant counts 0.
    """
    dtype = jnp.promote_types(target.dtype, jnp.float32)
    axes = tuple(range(target.ndim - 1))
    a, t = (centered(v.astype(dtype)) for v in (approximation, target))
    power, product = jnp.sum(a * a, axes) * jnp.sum(t * t, axes), jnp.sum(a * t, axes)
    explained = jnp.where(power > 0, product**2 / jnp.where(power > 0, power, 1), 0.0)
    return jnp.mean(jnp.where(jnp.sum(t * t, axes) > 0, 1 - explained, 0.0))
