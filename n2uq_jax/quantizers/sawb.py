"""SAWB: weights on uniform levels, their range read off two statistics; PACT's companion."""

import jax.numpy as jnp
from jax import lax

from n2uq_jax.quantizers.qarray import QArray
from n2uq_jax.quantizers.rounding import straight_through
from n2uq_jax.shapes import Array, Float

COEFFICIENTS = {2: (3.12, -2.064), 3: (7.509, -6.892), 4: (12.68, -12.80)}
"""By bit width: the published fit of the best range to weights of six distributions."""


def quantize_sawb(kernel: Float[Array, "*shape"], bits: int) -> QArray:
    r"""Rounds a kernel to odd integers within a range that its statistics tell.

    .. math::
      \alpha = c_1 \sqrt{\langle W^2 \rangle} + c_2 \langle |W| \rangle, \qquad
      m = \operatorname{round}\big((\operatorname{clip}(W/\alpha, -1, 1) + 1) \tfrac{N}{2}\big),
      \qquad W^q = \tfrac{\alpha}{N} (2m - N)

    with one :math:`\alpha` for the whole kernel and rounding half to even. A kernel of zeros gives
    zeros. Differentiation: :math:`\partial W^q/\partial W = 1`, outside the range too; the range
    is a constant.

    Args:
      kernel: float array of any shape.
      bits: 2 to 4, for which coefficients are published.

    Returns:
      A QArray with codes ``2m - N`` of the kernel's shape and dtype and a scale of shape ``()``.

    Raises:
      TypeError: if ``kernel`` is not a float array.
      ValueError: if ``bits`` is not in 2..4.

    Reference:
      Choi et al., "Bridging the Accuracy Gap for 2-bit Quantized Neural Networks (QNN)",
      arXiv 1807.06964, Section 3.
    """
    if bits not in COEFFICIENTS:
        raise ValueError(f"bits must be from 2 to 4 for SAWB's weights, got {bits}.")
    if not jnp.issubdtype(kernel.dtype, jnp.floating):
        raise TypeError(f"kernel must be a float array, got dtype {kernel.dtype}.")
    max_code = 2**bits - 1
    dtype = jnp.promote_types(kernel.dtype, jnp.float32)
    # The barriers let every program round the same way, as in quantize_weight.
    values = lax.optimization_barrier(lax.stop_gradient(kernel)).astype(dtype)
    square, magnitude = COEFFICIENTS[bits]
    range_ = square * jnp.sqrt(jnp.mean(values**2)) + magnitude * jnp.mean(jnp.abs(values))
    # Coefficients of other distributions than these may leave a range below 0.
    range_ = lax.optimization_barrier(jnp.maximum(range_, 0))
    unit = kernel.astype(dtype) / jnp.where(range_ > 0, range_, jnp.inf)
    steps = (unit + 1) * (max_code / 2)
    codes = 2 * straight_through(steps, jnp.round(jnp.clip(steps, 0, max_code))) - max_code
    return QArray(codes.astype(kernel.dtype), range_ / max_code, max_code)
