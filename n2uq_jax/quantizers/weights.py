"""The weight quantizer: odd integers and one scale per output channel."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from n2uq_jax.quantizers.bits import check_bits
from n2uq_jax.quantizers.qarray import QArray
from n2uq_jax.shapes import Array, Float


def quantize_weight(
    kernel: Float[Array, "*shape"],
    bits: int,
    *,
    axis: int = -1,
    entropy_preserving: bool = True,
) -> QArray:
    r"""Quantizes a kernel to odd integers with an entropy-preserving scale per output channel.

    With :math:`N = 2^b - 1` and, for output channel ``c``,
    :math:`\sigma_c = \frac{2^b - 1}{2^{b-1}} \operatorname{mean}|W_c|`,

    .. math::
      m = \operatorname{round}\big((\operatorname{clip}(W/\sigma, -1, 1) + 1) \tfrac{N}{2}\big),
      \qquad W^q = \tfrac{\sigma}{N} (2m - N)

    rounding half to even. A channel of zeros has :math:`\sigma = 0`: its values are zeros.

    Differentiation: :math:`\partial L/\partial W = (\partial L/\partial W^q) / \sigma`, outside
    the clip range too (the authors' code); zero where :math:`\sigma = 0`. The scale is a constant.

    Args:
      kernel: float array, output channels on ``axis`` (HWIO and IO kernels: the last).
      bits: 1 to 8.
      axis: the output channels' axis.
      entropy_preserving: False takes :math:`\sigma_c = \max|W_c|`, for ablations.

    Returns:
      A QArray with codes ``2m - N`` (odd integers in ``-N .. N``) of the kernel's shape and dtype,
      and the scale :math:`\sigma / N`, float32 or wider, of shape ``(channels,)`` if ``axis`` is
      the last axis, else with ones that make it broadcast.

    Raises:
      TypeError: if ``kernel`` is not a float array, or ``bits`` not an int.
      ValueError: if ``bits`` is not in 1..8, or ``axis`` does not exist.

    Reference:
      Liu et al., "Nonuniform-to-Uniform Quantization", CVPR 2022, with the authors' gradient.

    Example:
      One output channel with a mean magnitude of 2, so :math:`\sigma = 3`.

      >>> import jax.numpy as jnp
      >>> import n2uq_jax as n2uq
      >>> kernel = jnp.array([[-4.0], [-0.5], [0.5], [3.0]])
      >>> q = n2uq.quantizers.quantize_weight(kernel, bits=2)
      >>> q.codes.ravel().tolist()
      [-3.0, -1.0, 1.0, 3.0]
      >>> q.scale.tolist(), q.dequantize().ravel().tolist()
      ([1.0], [-3.0, -1.0, 1.0, 3.0])
    """
    max_code = 2 ** check_bits("bits", bits) - 1
    if not jnp.issubdtype(kernel.dtype, jnp.floating):
        raise TypeError(f"kernel must be a float array, got dtype {kernel.dtype}.")
    if not -kernel.ndim <= axis < kernel.ndim:
        raise ValueError(f"axis must be an axis of the kernel of shape {kernel.shape}, got {axis}.")
    return _quantize(kernel, max_code, axis, entropy_preserving)


# One program where it is called outside of any; within one, as if it were written there.
@functools.partial(jax.jit, static_argnums=(1, 2, 3), inline=True)
def _quantize(kernel, max_code, axis, entropy_preserving):
    scale = _entropy_preserving_scale if entropy_preserving else _largest_magnitude
    sigma = scale(lax.stop_gradient(kernel), max_code, axis)
    codes = weight_codes(max_code, kernel, sigma)
    last = axis % kernel.ndim == kernel.ndim - 1
    return QArray(codes, (sigma.reshape(-1) if last else sigma) / max_code, max_code)


def _entropy_preserving_scale(kernel: jax.Array, max_code: int, axis: int) -> jax.Array:
    """Returns sigma with ones on the reduced axes, in float32 or wider.

    The barriers make the compiler build this reduction the same way in every program, because
    thresholds are exported from its last bit on.
    """
    magnitude = jnp.abs(lax.optimization_barrier(kernel))
    axes = [i for i in range(kernel.ndim) if i != axis % kernel.ndim]
    dtype = jnp.promote_types(kernel.dtype, jnp.float32)
    mean = jnp.mean(magnitude, axis=axes, dtype=dtype, keepdims=True)
    return lax.optimization_barrier(2 * max_code / (max_code + 1) * mean)


def _largest_magnitude(kernel: jax.Array, max_code: int, axis: int) -> jax.Array:
    """Returns sigma without regard to entropy: no weight is clipped, few have the outer codes."""
    axes = tuple(i for i in range(kernel.ndim) if i != axis % kernel.ndim)
    dtype = jnp.promote_types(kernel.dtype, jnp.float32)
    largest = jnp.abs(lax.optimization_barrier(kernel)).max(axes, keepdims=True, initial=0)
    return lax.optimization_barrier(largest.astype(dtype))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def weight_codes(
    max_code: int, kernel: Float[Array, "*shape"], sigma: Float[Array, "*#shape"]
) -> Float[Array, "*shape"]:
    """Rounds a kernel to odd integers; the core of :func:`quantize_weight`.

    Args:
      max_code: ``N = 2**bits - 1``.
      kernel: float array.
      sigma: float32 or wider, broadcasts to the kernel.

    Returns:
      The codes ``2m - N``, shape and dtype of ``kernel``.
    """
    unit = kernel.astype(sigma.dtype) / jnp.where(sigma == 0, 1, sigma)
    m = jnp.round((jnp.clip(unit, -1, 1) + 1) * (max_code / 2))
    return (2 * m - max_code).astype(kernel.dtype)


def _forward(max_code, kernel, sigma):
    return weight_codes(max_code, kernel, sigma), sigma


def _backward(max_code, sigma, g):
    # Two divisions: sigma squared underflows for kernels around 1e-20.
    safe = jnp.where(sigma == 0, jnp.inf, sigma)
    d_kernel = (g.astype(sigma.dtype) * max_code / safe) / safe
    return d_kernel.astype(g.dtype), jnp.zeros_like(sigma)


weight_codes.defvjp(_forward, _backward)
