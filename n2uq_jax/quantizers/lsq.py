"""LSQ: uniform levels whose step is learned, for activations and weights."""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

from n2uq_jax.isolation import tagged
from n2uq_jax.quantizers.bits import check_bits
from n2uq_jax.quantizers.qarray import QArray, gradient_of
from n2uq_jax.quantizers.rounding import straight_through
from n2uq_jax.shapes import Array, Float


def lsq_range(bits: int, *, signed: bool) -> tuple[int, int]:
    r"""Returns the smallest and the largest code.

    .. math:: (-Q_N, Q_P) = (0, 2^b - 1), \qquad \text{signed: } (-2^{b-1}, 2^{b-1} - 1)

    Args:
      bits: 1 to 8; signed from 2 on, since one bit would leave no positive code.
      signed: codes on both sides of zero.

    Returns:
      Two integers.

    Raises:
      TypeError: if ``bits`` is not an int.
      ValueError: if ``bits`` is out of its range.

    Reference:
      Esser et al., "Learned Step Size Quantization", ICLR 2020, Section 2.
    """
    bits = check_bits("bits", bits)
    if not signed:
        return 0, 2**bits - 1
    if bits == 1:
        raise ValueError("bits must be from 2 to 8 for signed codes of LSQ, got 1.")
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def lsq_step(
    values: Float[Array, "*shape"],
    bits: int,
    *,
    signed: bool = False,
    axis: tuple[int, ...] | None = None,
) -> Float[Array, "*rest"]:
    r"""Returns the step that LSQ starts from.

    .. math:: s = 2 \langle |v| \rangle / \sqrt{Q_P}

    Unsigned codes see no negative values, which count as the zeros that they become.

    Args:
      values: activations or weights, any shape.
      bits: 1 to 8.
      signed: as for :func:`quantize_lsq`; True for weights.
      axis: the axes of one step; None for all.

    Returns:
      Shape ``()``, or that of the other axes; float32 or wider; 1 where all values are 0.

    Reference:
      Esser et al., ICLR 2020, Section 2.1.
    """
    _, highest = lsq_range(bits, signed=signed)
    dtype = jnp.promote_types(values.dtype, jnp.float32)
    magnitude = jnp.abs(values) if signed else jax.nn.relu(values)
    step = 2 * jnp.mean(magnitude, axis, dtype=dtype) / math.sqrt(highest)
    return jnp.where(step > 0, step, 1.0).astype(dtype)


def quantize_lsq(
    x: Float[Array, "*shape"],
    step: Float[Array, ""] | Float[Array, "1"],
    bits: int,
    *,
    signed: bool = False,
) -> QArray:
    r"""Rounds activations to multiples of a learned step.

    .. math:: k = \operatorname{round}(\operatorname{clip}(x/s, -Q_N, Q_P)), \qquad y = s k

    rounding half to even. Differentiation: :math:`\partial y/\partial x = 1` for
    :math:`-Q_N < x/s < Q_P`, else 0;

    .. math::
      \frac{\partial y}{\partial s} = \frac{1}{\sqrt{N_F Q_P}} \begin{cases}
        k - x/s & -Q_N < x/s < Q_P \\ k & \text{else} \end{cases}

    where :math:`N_F` is the number of values in an example. (Adam divides the gradient's scale
    out again; plain gradient descent does not.) A step at or below 0 gives zeros and no gradients.

    Args:
      x: activations, shape ``(batch, ...)``, any float dtype.
      step: :math:`s`, shape ``()`` or ``(1,)``.
      bits: 1 to 8; 2 to 8 if signed.
      signed: codes on both sides of zero, one more below it than above.

    Returns:
      A QArray with codes of ``x``'s shape and dtype and a scale of shape ``()``.

    Raises:
      TypeError: if ``x`` is not a float array, or ``bits`` not an int.
      ValueError: if ``bits`` is out of its range, or ``step`` has more than one element.

    Reference:
      Esser et al., "Learned Step Size Quantization", ICLR 2020 (arXiv 1902.08153), Eq. 1 to 5.

    Example:
      >>> import jax.numpy as jnp
      >>> import n2uq_jax as n2uq
      >>> q = n2uq.quantizers.quantize_lsq(jnp.array([-1.0, 0.2, 0.9, 9.0]), jnp.float32(0.5), 2)
      >>> q.codes.tolist()
      [0.0, 0.0, 2.0, 3.0]
    """
    lowest, highest = lsq_range(bits, signed=signed)
    step = _checked("x", x, step)
    step = scale_gradient(step, _gradient_scale(math.prod(x.shape[1:]), highest))
    codes = lsq_codes(lowest, highest, x, step)
    return QArray(codes + lowest if lowest else codes, step, max(-lowest, highest))


def quantize_lsq_weight(
    kernel: Float[Array, "*shape"], step: Float[Array, ""] | Float[Array, "1"], bits: int
) -> QArray:
    r"""Rounds a kernel to multiples of a learned step, one for the whole kernel.

    The formula and its gradient are those of :func:`quantize_lsq` with signed codes
    :math:`-2^{b-1} .. 2^{b-1} - 1`; :math:`N_F` is the number of weights.

    Args:
      kernel: float array, output channels last.
      step: :math:`s`, shape ``()`` or ``(1,)``.
      bits: 2 to 8.

    Returns:
      A QArray with codes of the kernel's shape and dtype and a scale of shape ``()``.

    Raises:
      TypeError: if ``kernel`` is not a float array, or ``bits`` not an int.
      ValueError: if ``bits`` is not in 2..8, or ``step`` has more than one element.

    Reference:
      Esser et al., "Learned Step Size Quantization", ICLR 2020, Eq. 1 to 5.
    """
    lowest, highest = lsq_range(bits, signed=True)
    step = scale_gradient(_checked("kernel", kernel, step), _gradient_scale(kernel.size, highest))
    # The barrier lets every program divide the same way, as in quantize_weight.
    ratio = kernel.astype(step.dtype) / lax.optimization_barrier(jnp.where(step > 0, step, jnp.inf))
    inside = (ratio > lowest) & (ratio < highest)
    rounded = jnp.clip(jnp.round(ratio), lowest, highest)
    codes = jnp.where(inside, straight_through(ratio, rounded), lax.stop_gradient(rounded))
    return QArray(codes.astype(kernel.dtype), step, -lowest)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def lsq_codes(
    lowest: int, highest: int, x: Float[Array, "*shape"], step: Float[Array, ""]
) -> Float[Array, "*shape"]:
    """Rounds activations to codes, counted from the lowest; the core of :func:`quantize_lsq`.

    Args:
      lowest: the smallest code.
      highest: the largest code.
      x: float array of any shape.
      step: float32 or wider, shape ``()``.

    Returns:
      ``0 .. highest - lowest``, shape and dtype of ``x``, behind an optimization barrier outside
      of differentiation.
    """
    return tagged(_round(lowest, highest, x, step), f"lsq_codes/{highest - lowest}")


def _round(lowest, highest, x, step):
    ratio = x.astype(step.dtype) / jnp.where(step > 0, step, jnp.inf)
    return (jnp.round(jnp.clip(ratio, lowest, highest)) - lowest).astype(x.dtype)


def _forward(lowest, highest, x, step):
    return _round(lowest, highest, x, step), (x, step)


def _backward(lowest, highest, residuals, g):
    x, step = residuals
    safe = jnp.where(step > 0, step, jnp.inf)
    ratio = x.astype(step.dtype) / safe
    g = jnp.where((ratio > lowest) & (ratio < highest), g.astype(step.dtype) / safe, 0)
    # Masked before multiplying: an infinity outside must not make a NaN.
    d_step = -(g * jnp.where(g == 0, 0, ratio)).sum()
    return g.astype(x.dtype), gradient_of(step, d_step)


lsq_codes.defvjp(_forward, _backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def scale_gradient(x: Float[Array, "*shape"], factor: float) -> Float[Array, "*shape"]:
    """Returns ``x``, and multiplies its gradient by a factor.

    Args:
      x: float array.
      factor: of the gradient.

    Returns:
      The same values.

    Reference:
      Esser et al., ICLR 2020, Section 2.2 and Appendix A.
    """
    return x


scale_gradient.defvjp(lambda x, factor: (x, None), lambda factor, _, g: (factor * g,))


def _gradient_scale(count: int, highest: int) -> float:
    return 1 / math.sqrt(max(1, count) * highest)


def _checked(name: str, values: jax.Array, step: jax.Array) -> jax.Array:
    if not jnp.issubdtype(values.dtype, jnp.floating):
        raise TypeError(f"{name} must be a float array, got dtype {values.dtype}.")
    step = jnp.asarray(step)
    if step.size != 1:
        raise ValueError(f"step must have one element, shape () or (1,), got shape {step.shape}.")
    return step.reshape(()).astype(jnp.promote_types(values.dtype, jnp.float32))
