"""The pair of integer codes and scale that every quantizer returns."""

import dataclasses

import jax
import jax.numpy as jnp

from n2uq_jax.shapes import Array, Float, Shaped


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class QArray:
    r"""A quantized array: integers and the factor that turns them into reals.

    .. math:: y = \text{codes} \cdot \text{scale}

    The class is a pytree, so it passes through ``jit``, ``vmap`` and ``grad``; gradients flow
    through both fields.

    Args:
      codes: integers, stored in a float or an integer dtype; any shape.
      scale: positive or negative factors, float32 or wider, of a shape that broadcasts to
        ``codes.shape``: ``()`` for one scale a tensor, ``(channels,)`` for one a channel.
      max_code: the largest magnitude a code can have, or None if unknown; a static field from
        which products of codes choose an accumulator that cannot overflow.
    """

    codes: Shaped[Array, "*shape"]
    scale: Float[Array, "*#shape"]
    max_code: int | None = dataclasses.field(default=None, metadata={"static": True})

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the codes."""
        return self.codes.shape

    @property
    def ndim(self) -> int:
        """Number of dimensions of the codes."""
        return self.codes.ndim

    def dequantize(self) -> Float[Array, "*shape"]:
        """Returns ``codes * scale``.

        Returns:
          The real values, in the dtype of ``codes`` if that is a float type, else in that of
          ``scale``. The product itself is computed in the dtype of ``scale``.
        """
        value = self.codes.astype(self.scale.dtype) * align(self.scale, self.codes.ndim)
        if jnp.issubdtype(self.codes.dtype, jnp.floating):
            return value.astype(self.codes.dtype)
        return value


def align(parameter: Shaped[Array, "*shape"], ndim: int) -> Shaped[Array, "..."]:
    """Gives a per-tensor or per-channel parameter the rank of the array it meets.

    Args:
      parameter: shape ``()``, or any shape whose last axis is the channel axis.
      ndim: rank of the other operand, at least ``parameter.ndim``.

    Returns:
      The same values with ones in front, shape ``(1, ..., 1, *parameter.shape)``; scalars stay
      scalars.
    """
    if parameter.ndim == 0:
        return parameter
    return parameter.reshape((1,) * (ndim - parameter.ndim) + parameter.shape)


def scaled(x: Float[Array, "*shape"], factor: Float[Array, "*#shape"]) -> Float[Array, "*shape"]:
    """Multiplies an array by a per-tensor or per-channel factor, in the dtype of the factor.

    Args:
      x: float array, shape ``(..., channels)``.
      factor: shape ``()`` or ``(channels,)``.

    Returns:
      An array of the shape of ``x`` and the dtype of ``factor``.
    """
    return align(factor, x.ndim) * x.astype(factor.dtype)


def gradient_of(
    parameter: Float[Array, "*shape"], gradient: Float[Array, "..."]
) -> Float[Array, "*shape"]:
    """Gives a gradient that a backward pass has computed the shape and dtype of its parameter.

    Inside ``jax.shard_map`` each device has computed its own part, while the parameter may be one
    for all of them; then the parts are summed, as JAX does for its own operations.

    Args:
      parameter: scalar or per-channel parameter.
      gradient: of the parameter's shape; or of any, to be summed, if that is ``()``.

    Returns:
      An array of the parameter's shape and dtype.
    """
    gradient = (gradient if parameter.ndim else gradient.sum()).astype(parameter.dtype)
    _, pull = jax.vjp(lambda p: p + gradient, parameter)
    return pull(gradient)[0]
