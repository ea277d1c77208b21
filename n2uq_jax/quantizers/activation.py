"""The activation quantizer: learned thresholds in, equally spaced outputs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from n2uq_jax.isolation import tagged
from n2uq_jax.quantizers.qarray import QArray, align, gradient_of, scaled
from n2uq_jax.quantizers.segment_sums import segment_sums
from n2uq_jax.shapes import Array, Float

MIN_INTERVAL = float(np.float32(1e-3))
"""The floor of every interval: float32's 1e-3, in float64 too, as in the authors' code."""


def quantize_activation(
    x: Float[Array, "*batch channels"],
    start: Float[Array, ""] | Float[Array, "#channels"],
    intervals: Float[Array, " N"] | Float[Array, "N channels"],
    in_scale: Float[Array, ""] | Float[Array, "#channels"],
    out_scale: Float[Array, ""] | Float[Array, "1"],
    *,
    signed: bool = False,
) -> QArray:
    r"""Quantizes activations with learned thresholds and uniform output levels.

    With :math:`u = \beta_1 x`, :math:`N = 2^b - 1` and the thresholds :math:`T_i` of
    :func:`thresholds`,

    .. math:: k = \#\{i : u > T_i\}, \qquad y = \beta_2 \tfrac{2}{N} k

    and with ``signed`` the codes are the odd integers :math:`2k - N` and the levels
    :math:`y = \beta_2 (2k - N) / N` lie in :math:`[-\beta_2, \beta_2]`.

    A value at a threshold stays below it (the comparison is strict). NaN gives NaN; infinities
    give the outer codes.

    Differentiation (G-STE): the gradient of ``y`` is that of :math:`\beta_2` times the
    piecewise-linear curve through the points :math:`(d_i, 2i/N)`, constant outside
    :math:`[d_0, d_N]`; segment ``i`` is :math:`d_{i-1} < u \le d_i`. Within it

    .. math::
      \frac{\partial k}{\partial u} = \frac{1}{a_i}, \quad
      \frac{\partial k}{\partial a_i} = -\frac{u - d_{i-1}}{a_i^2}, \quad
      \frac{\partial k}{\partial a_j} = -\frac{1}{a_i}\ (j < i), \quad
      \frac{\partial k}{\partial s} = -\frac{1}{a_i}

    and zero elsewhere. :math:`\beta_2` sees the hard code. The backward pass keeps ``x`` alone.

    Args:
      x: activations, shape ``(..., channels)``, any float dtype.
      start: :math:`s = d_0`, shape ``()`` or ``(1,)``; or ``(channels,)`` if the intervals are
        given per channel.
      intervals: :math:`a_1 .. a_N`, shape ``(N,)`` or ``(N, channels)`` with ``N = 2**bits - 1``,
        bits 1 to 8. An interval at or below :data:`MIN_INTERVAL` counts as that and gets no
        gradient.
      in_scale: :math:`\beta_1`, shaped like ``start``.
      out_scale: :math:`\beta_2`, shape ``()`` or ``(1,)``.
      signed: take the codes ``-N, -N+2, .., N`` instead of ``0 .. N``.

    Returns:
      A QArray with codes of ``x``'s shape and dtype and a scale of shape ``()``.

    Raises:
      TypeError: if ``x`` is not a float array.
      ValueError: if a parameter's shape does not fit.

    Reference:
      Liu et al., "Nonuniform-to-Uniform Quantization", CVPR 2022, Eq. 2 and Theorem 1.

    Example:
      Two bits, intervals 1/4, 1/2 and 5/4: thresholds at 1/8, 1/2 and 11/8.

      >>> import jax.numpy as jnp
      >>> import n2uq_jax as n2uq
      >>> x = jnp.array([-1.0, 0.25, 0.5, 1.0, 9.0])
      >>> start, one = jnp.zeros(()), jnp.ones(())
      >>> intervals = jnp.array([0.25, 0.5, 1.25])
      >>> q = n2uq.quantizers.quantize_activation(x, start, intervals, one, one)
      >>> q.codes.tolist()
      [0.0, 1.0, 1.0, 2.0, 3.0]
      >>> bool(q.scale == jnp.float32(2 / 3))
      True
    """
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"x must be a float array, got dtype {x.dtype}.")
    max_code = _check_intervals(intervals)
    channels = x.shape[-1] if x.ndim else 1
    compute = jnp.promote_types(x.dtype, jnp.float32)
    start = _check_parameter("start", start, channels, compute)
    in_scale = _check_parameter("in_scale", in_scale, channels, compute)
    out_scale = jnp.asarray(out_scale)
    if out_scale.size != 1:
        raise ValueError(
            f"out_scale must have one element, shape () or (1,), got shape {out_scale.shape}: "
            "the convolution sums over channels, so their outputs share one scale."
        )
    if intervals.ndim == 2 and (x.ndim == 0 or intervals.shape[1] != channels):
        raise ValueError(
            f"intervals has {intervals.shape[1]} channels (shape {intervals.shape}), "
            f"but x has {channels if x.ndim else 'none'} (shape {x.shape})."
        )
    for name, value in (("start", start), ("in_scale", in_scale)):
        if value.ndim > intervals.ndim - 1:
            raise ValueError(
                f"{name} has one value a channel (shape {value.shape}), so intervals must have "
                f"shape ({max_code}, {channels}), got {intervals.shape}."
            )
    return _quantize(x, start, intervals.astype(compute), in_scale, out_scale, signed)


# One program where it is called outside of any; within one, as if it were written there.
@functools.partial(jax.jit, static_argnames="signed", inline=True)
def _quantize(x, start, intervals, in_scale, out_scale, signed):
    max_code = intervals.shape[0]
    codes = activation_codes(x, start, effective_intervals(intervals), in_scale)
    scale = out_scale.reshape(()).astype(intervals.dtype) / max_code
    if signed:
        return QArray(2 * codes - max_code, scale, max_code)
    return QArray(codes, 2 * scale, max_code)


def effective_intervals(intervals: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""Raises intervals that are too small to the floor, without a gradient there.

    .. math:: a_i \leftarrow a_i \text{ if } a_i > \varepsilon \text{ else } \varepsilon

    Args:
      intervals: float array of any shape.

    Returns:
      An array of the same shape and dtype.
    """
    return jnp.where(intervals > MIN_INTERVAL, intervals, MIN_INTERVAL)


def knots(
    start: Float[Array, "*#channels"], intervals: Float[Array, "N *channels"]
) -> Float[Array, "N+1 *channels"]:
    r"""Returns the knots of the piecewise-linear curve, summed from left to right.

    .. math:: d_0 = s, \qquad d_i = d_{i-1} + a_i

    Args:
      start: shape ``()`` or ``(channels,)``.
      intervals: effective intervals, shape ``(N,)`` or ``(N, channels)``.

    Returns:
      Shape ``(N + 1,)`` or ``(N + 1, channels)``.
    """
    # One after another, since jnp.cumsum may add in another order, which moves last bits. Written
    # out up to 4 bits; compile time is quadratic in what is written out.
    first = jnp.broadcast_to(start, intervals.shape[1:])
    _, rest = lax.scan(lambda d, a: (d + a, d + a), first, intervals, unroll=16)
    return jnp.concatenate([first[None], rest])


def thresholds(
    start: Float[Array, "*#channels"], intervals: Float[Array, "N *channels"]
) -> Float[Array, "N *channels"]:
    """Returns the thresholds, midway between neighboring knots.

    .. math:: T_i = (d_{i-1} + d_i) / 2

    Args:
      start: shape ``()`` or ``(channels,)``.
      intervals: effective intervals, shape ``(N,)`` or ``(N, channels)``.

    Returns:
      Shape ``(N,)`` or ``(N, channels)``, not decreasing.
    """
    d = knots(start, intervals)
    return (d[:-1] + d[1:]) / 2


@jax.custom_vjp
def activation_codes(
    x: Float[Array, "*shape"],
    start: Float[Array, "*#channels"],
    intervals: Float[Array, "N *channels"],
    in_scale: Float[Array, "*#channels"],
) -> Float[Array, "*shape"]:
    """Counts the thresholds below each input; the core of :func:`quantize_activation`.

    Outside of differentiation the codes stand behind an optimization barrier, so that evaluation
    and export compile the arithmetic in front of them as one and the same function.

    Args:
      x: float array, shape ``(..., channels)``.
      start: float32 or wider, shape ``()`` or ``(channels,)``.
      intervals: effective intervals, shape ``(N,)`` or ``(N, channels)``.
      in_scale: shape ``()`` or ``(channels,)``.

    Returns:
      Codes ``0 .. N`` (NaN where ``in_scale * x`` is NaN), shape and dtype of ``x``.
    """
    codes = _count_thresholds(x, start, intervals, in_scale)
    return tagged(codes, f"activation_codes/{intervals.shape[0]}")


def _count_thresholds(x, start, intervals, in_scale):
    u = scaled(x, in_scale)
    codes = jnp.zeros(x.shape, x.dtype)
    for t in thresholds(start, intervals):
        codes += (u > align(t, u.ndim)).astype(x.dtype)
    return jnp.where(jnp.isnan(u), jnp.asarray(jnp.nan, x.dtype), codes)


def _forward(x, start, intervals, in_scale):
    return _count_thresholds(x, start, intervals, in_scale), (x, start, intervals, in_scale)


def _backward(residuals, g):
    x, start, intervals, in_scale = residuals
    d = knots(start, intervals)
    slopes = 1 / intervals
    g = g.astype(jnp.promote_types(intervals.dtype, jnp.result_type(float)))

    u = scaled(x, in_scale)
    slope = jnp.zeros(u.shape, u.dtype)
    for left, inside in zip(d, [*slopes, jnp.zeros_like(slopes[0])], strict=True):
        slope = jnp.where(u > align(left, u.ndim), align(inside, u.ndim), slope)
    dx = g * slope * align(in_scale, u.ndim)

    # Per segment: s0 sums g, s1 sums g (u - d_{i-1}); gx sums g x over the finite inputs.
    s0, s1, gx = segment_sums(x, g, d, in_scale)
    through = s0 * slopes
    after = jnp.concatenate([jnp.zeros_like(through[:1]), through[:0:-1]])
    d_intervals = -s1 * slopes * slopes - jnp.cumsum(after, axis=0)[::-1]
    d_start = -through.sum(0)

    # Sum of g x slope: from the same sums where in_scale lets x be recovered from u. At
    # in_scale = 0 every u is 0, so all inputs share one segment and its slope.
    weighted = (slopes * (s1 + d[:-1] * s0)).sum(0)
    at_zero = ((d[:-1] < 0) & (d[1:] >= 0)).astype(slopes.dtype) * slopes
    is_zero = in_scale == 0
    d_in_scale = jnp.where(is_zero, at_zero.sum(0) * gx, weighted / jnp.where(is_zero, 1, in_scale))
    return (
        dx.astype(x.dtype),
        gradient_of(start, d_start),
        gradient_of(intervals, d_intervals),
        gradient_of(in_scale, d_in_scale),
    )


activation_codes.defvjp(_forward, _backward)


def _check_intervals(intervals: jax.Array) -> int:
    max_code = intervals.shape[0] if intervals.ndim in (1, 2) else 0
    bits = (max_code + 1).bit_length() - 1
    if max_code != 2**bits - 1 or not 1 <= bits <= 8:
        raise ValueError(
            "intervals must have shape (N,) or (N, channels) with N = 2**bits - 1 and bits from "
            f"1 to 8 (N one of 1, 3, 7, .., 255), got shape {intervals.shape}."
        )
    return max_code


def _check_parameter(name: str, value: jax.Array, channels: int, dtype) -> jax.Array:
    value = jnp.asarray(value)
    if value.size == 1 and value.ndim <= 1:
        return value.reshape(()).astype(dtype)
    if value.shape == (channels,):
        return value.astype(dtype)
    raise ValueError(
        f"{name} must have shape (), (1,) or ({channels},), the channels of x, got {value.shape}."
    )
