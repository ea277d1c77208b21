"""DoReFa: activations clipped to 0..1, weights squashed by tanh; nothing is learned."""

import jax.numpy as jnp
from jax import lax

from n2uq_jax.quantizers.bits import check_bits
from n2uq_jax.quantizers.pact import quantize_pact
from n2uq_jax.quantizers.qarray import QArray
from n2uq_jax.quantizers.rounding import straight_through
from n2uq_jax.shapes import Array, Float


def quantize_dorefa(x: Float[Array, "*shape"], bits: int) -> QArray:
    r"""Clips activations to 0..1 and rounds them to uniform levels.

    .. math:: y = \tfrac{1}{N} \operatorname{round}(N \operatorname{clip}(x, 0, 1))

    rounding half to even. Differentiation: :math:`\partial y/\partial x = 1` for
    :math:`0 < x < 1`, else 0.

    Args:
      x: float array of any shape.
      bits: 1 to 8; ``N = 2**bits - 1``.

    Returns:
      A QArray with codes ``0 .. N`` of ``x``'s shape and dtype and the scale ``1 / N``.

    Raises:
      TypeError: if ``x`` is not a float array, or ``bits`` not an int.
      ValueError: if ``bits`` is not in 1..8.

    Reference:
      Zhou et al., "DoReFa-Net", arXiv 1606.06160, Eq. 5 and 10, with the clip of its Section 2.4.
    """
    return quantize_pact(x, jnp.ones((), jnp.promote_types(x.dtype, jnp.float32)), bits)


def quantize_dorefa_weight(kernel: Float[Array, "*shape"], bits: int) -> QArray:
    r"""Squashes a kernel by tanh and rounds it to odd integers, one scale for all.

    .. math::
      m = \operatorname{round}\Big(N \Big(\frac{\tanh W}{2 \max|\tanh W|} + \frac12\Big)\Big),
      \qquad W^q = \tfrac{1}{N} (2m - N)

    rounding half to even. Values lie in -1..1 whatever the kernel's size; a kernel of zeros counts
    as one whose largest magnitude is 1. Differentiation: straight through the rounding, and
    through everything else as it stands.

    Args:
      kernel: float array of any shape.
      bits: 2 to 8. (One bit has another formula in the paper, and none here.)

    Returns:
      A QArray with codes ``2m - N`` of the kernel's shape and dtype and the scale ``1 / N``.

    Raises:
      TypeError: if ``kernel`` is not a float array, or ``bits`` not an int.
      ValueError: if ``bits`` is not in 2..8.

    Reference:
      Zhou et al., "DoReFa-Net", arXiv 1606.06160, Eq. 9.
    """
    max_code = 2 ** check_bits("bits", bits) - 1
    if max_code == 1:
        raise ValueError("bits must be from 2 to 8 for DoReFa's weights, got 1.")
    if not jnp.issubdtype(kernel.dtype, jnp.floating):
        raise TypeError(f"kernel must be a float array, got dtype {kernel.dtype}.")
    # The barriers let every program round the same way, as in quantize_weight.
    values = lax.optimization_barrier(kernel.astype(jnp.promote_types(kernel.dtype, jnp.float32)))
    squashed = lax.optimization_barrier(jnp.tanh(values))
    largest = jnp.abs(squashed).max(initial=0)
    unit = squashed / (2 * jnp.where(largest > 0, largest, 1)) + 0.5
    steps = max_code * unit
    codes = 2 * straight_through(steps, jnp.round(steps)) - max_code
    return QArray(codes.astype(kernel.dtype), jnp.full((), 1 / max_code, squashed.dtype), max_code)
