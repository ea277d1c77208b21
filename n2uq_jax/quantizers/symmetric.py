"""Symmetric integer weights for first and last layers, scaled by the largest magnitude."""

import jax
import jax.numpy as jnp
from jax import lax

from n2uq_jax.quantizers.qarray import QArray, align
from n2uq_jax.quantizers.rounding import straight_through


def quantize_symmetric(kernel: jax.Array, bits: int, *, per_channel: bool = True) -> QArray:
    r"""Rounds a kernel to integers of a symmetric range.

    With :math:`L = 2^{b-1} - 1` and the largest magnitude :math:`m` of a channel or of the whole
    kernel,

    .. math:: k = \operatorname{round}(W L / m), \qquad W^q = k\, m / L

    rounding half to even. This suits 8 bits, where the entropy-preserving scale of
    :func:`~n2uq_jax.quantizers.quantize_weight` would clip a large share of the weights; at 2 to 4
    bits use that one. Zeros stay zeros.

    Differentiation: straight through the rounding; the scale is a constant.

    Args:
      kernel: float array, output channels last.
      bits: 2 to 8.
      per_channel: one scale an output channel, not one for all.

    Returns:
      A QArray with codes ``-L .. L`` of the kernel's shape and dtype, and a float32 (or wider)
      scale of shape ``(channels,)`` or ``()``.

    Raises:
      TypeError: if ``kernel`` is not a float array.
      ValueError: if ``bits`` is not in 2..8.

    Reference:
      Jacob et al., "Quantization and Training of Neural Networks for Efficient
      Integer-Arithmetic-Only Inference", CVPR 2018.
    """
    if not 2 <= bits <= 8:
        raise ValueError(f"bits must be from 2 to 8 for symmetric weights, got {bits}.")
    if not jnp.issubdtype(kernel.dtype, jnp.floating):
        raise TypeError(f"kernel must be a float array, got dtype {kernel.dtype}.")
    limit = 2 ** (bits - 1) - 1
    dtype = jnp.promote_types(kernel.dtype, jnp.float32)
    # The barriers let every program round the same way, as in quantize_weight.
    values = lax.optimization_barrier(lax.stop_gradient(kernel)).astype(dtype)
    axes = tuple(range(kernel.ndim - 1)) if per_channel else None
    largest = jnp.abs(values).max(axes)
    scale = lax.optimization_barrier(jnp.where(largest > 0, largest, 1) / limit)
    steps = kernel.astype(dtype) / align(scale, kernel.ndim)
    rounded = jnp.clip(jnp.round(steps), -limit, limit)
    codes = straight_through(steps, rounded)
    return QArray(codes.astype(kernel.dtype), scale, limit)
