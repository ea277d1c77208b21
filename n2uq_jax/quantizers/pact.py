"""PACT: a ReLU with a learned clip and uniform levels."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from n2uq_jax.isolation import tagged
from n2uq_jax.quantizers.bits import check_bits
from n2uq_jax.quantizers.qarray import QArray, gradient_of
from n2uq_jax.shapes import Array, Float


def quantize_pact(
    x: Float[Array, "*shape"],
    clip: Float[Array, ""] | Float[Array, "1"],
    bits: int,
    *,
    detach_scale: bool = False,
) -> QArray:
    r"""Clips activations at a learned value and rounds them to uniform levels.

    .. math::
      k = \operatorname{round}\big(\min(\operatorname{relu}(x), c) \tfrac{N}{c}\big),
      \qquad y = k \tfrac{c}{N}

    rounding half to even. Differentiation: :math:`\partial y/\partial x = 1` for
    :math:`0 < x < c`, else 0; :math:`\partial y/\partial c = k/N + [x \ge c]`, which is 2 where
    the input saturates (the authors do not detach the clip of the forward term). With
    ``detach_scale`` it is PACT's own :math:`\partial y/\partial c = [x \ge c]`.

    A clip at or below 0 lets nothing pass: all codes and all gradients are 0.

    Args:
      x: float array of any shape.
      clip: :math:`c`, shape ``()`` or ``(1,)``.
      bits: 1 to 8; ``N = 2**bits - 1``.
      detach_scale: the scale ``c / N`` is a constant to the gradient, as in PACT's paper.

    Returns:
      A QArray with codes ``0 .. N`` of ``x``'s shape and dtype and a scale of shape ``()``.

    Raises:
      TypeError: if ``x`` is not a float array, or ``bits`` not an int.
      ValueError: if ``bits`` is not in 1..8, or ``clip`` has more than one element.

    Reference:
      Choi et al., "PACT", arXiv 1805.06085, Eq. 2 and 3, in the form of the N2UQ authors' code
      unless ``detach_scale``.
    """
    max_code = 2 ** check_bits("bits", bits) - 1
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"x must be a float array, got dtype {x.dtype}.")
    clip = jnp.asarray(clip)
    if clip.size != 1:
        raise ValueError(f"clip must have one element, shape () or (1,), got shape {clip.shape}.")
    clip = clip.reshape(()).astype(jnp.promote_types(x.dtype, jnp.float32))
    scale = (lax.stop_gradient(clip) if detach_scale else clip) / max_code
    return QArray(pact_codes(max_code, x, clip), scale, max_code)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def pact_codes(
    max_code: int, x: Float[Array, "*shape"], clip: Float[Array, ""]
) -> Float[Array, "*shape"]:
    """Rounds clipped activations to codes; the core of :func:`quantize_pact`.

    Args:
      max_code: ``N = 2**bits - 1``.
      x: float array of any shape.
      clip: float32 or wider, shape ``()``.

    Returns:
      Codes ``0 .. N``, shape and dtype of ``x``, behind an optimization barrier outside of
      differentiation.
    """
    return tagged(_round(max_code, x, clip), f"pact_codes/{max_code}")


def _round(max_code, x, clip):
    # A product with N/c, not a division by c/N: that is where the authors' rounding happens.
    factor = jnp.where(clip > 0, max_code / clip, 0)
    bounded = jnp.minimum(jax.nn.relu(x.astype(clip.dtype)), clip)
    return jnp.round(bounded * factor).astype(x.dtype)


def _forward(max_code, x, clip):
    return _round(max_code, x, clip), (x, clip)


def _backward(max_code, residuals, g):
    x, clip = residuals
    g = jnp.where(clip > 0, g.astype(clip.dtype) * max_code / clip, 0)
    value = x.astype(clip.dtype)
    dx = jnp.where((value > 0) & (value < clip), g, 0).astype(x.dtype)
    d_clip = jnp.where(value >= clip, g, 0).sum()
    return dx, gradient_of(clip, d_clip)


pact_codes.defvjp(_forward, _backward)
