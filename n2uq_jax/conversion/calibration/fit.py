"""Fits an activation quantizer's parameters to samples of its input."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from n2uq_jax.quantizers import MIN_INTERVAL, QArray, quantize_activation


class Fit(NamedTuple):
    """Parameters of :func:`n2uq_jax.quantizers.quantize_activation`.

    Args:
      start: shape ``()``.
      intervals: shape ``(N,)``.
      in_scale: shape ``()``.
      out_scale: shape ``()``.
    """

    start: jax.Array
    intervals: jax.Array
    in_scale: jax.Array
    out_scale: jax.Array

    def __call__(self, x: jax.Array, *, signed: bool) -> QArray:
        """Quantizes ``x``."""
        return _quantize(x, *self, signed=signed)


_quantize = jax.jit(quantize_activation, static_argnames="signed")


@functools.partial(jax.jit, static_argnames=("bits", "signed"))
def fit_step(x: jax.Array, bits: int, *, signed: bool) -> Fit:
    r"""Fits equally spaced thresholds to the smallest squared error, as Lloyd's algorithm does.

    Levels are :math:`\Delta k`, or :math:`\tfrac{\Delta}{2}(2k - N)` if signed. For given levels
    the best thresholds lie midway between them; for given codes the best step is

    .. math:: \Delta = \sum x \ell / \sum \ell^2, \qquad \ell = k \text{ or } k - N/2.

    Both are repeated from each of several steps, and the best result is kept.

    Args:
      x: samples, any shape.
      bits: 1 to 8.
      signed: levels on both sides of zero.

    Returns:
      A fit; in units of ``in_scale * x`` its thresholds are those of a new quantizer. Where no
      sample has a code above zero, that of a new quantizer itself.
    """
    num_thresholds = 2**bits - 1
    x = x.reshape(-1).astype(jnp.promote_types(x.dtype, jnp.float32))
    offset = num_thresholds / 2 if signed else 0.0
    largest = jnp.max(jnp.abs(x) if signed else x)
    safe = jnp.where(largest > 0, largest, 1.0)

    def level(step: jax.Array) -> jax.Array:
        return jnp.clip(jnp.round(x / step + offset), 0, num_thresholds) - offset

    def update(_: int, step: jax.Array) -> jax.Array:
        power = jnp.sum(level(step) ** 2)
        return jnp.where(power > 0, jnp.sum(x * level(step)) / jnp.where(power > 0, power, 1), step)

    def best_of(steps: jax.Array) -> jax.Array:
        steps = lax.map(lambda step: lax.fori_loop(0, 4, update, step), steps)
        errors = lax.map(lambda step: jnp.mean((x - step * level(step)) ** 2), steps)
        return steps[jnp.argmin(errors)]

    # First the range that the levels span, from all of the samples' down to a 64th of it.
    ranges = safe * 2.0 ** jnp.linspace(0, -6, 25, dtype=x.dtype)
    step = best_of(ranges / (num_thresholds - offset))
    step = best_of(step * 2.0 ** jnp.linspace(-0.25, 0.25, 17, dtype=x.dtype))
    out_scale = jnp.where(largest > 0, step * num_thresholds / 2, 1.0)
    start = jnp.asarray(-1.0 if signed else 0.0, x.dtype)
    intervals = jnp.full((num_thresholds,), 2 / num_thresholds, x.dtype)
    return Fit(start, intervals, 1 / out_scale, out_scale)


@functools.partial(jax.jit, static_argnames=("bits", "signed"))
def fit_shifted_step(x: jax.Array, bits: int, *, signed: bool) -> Fit:
    r"""Fits equally spaced thresholds to the smallest squared error up to a constant.

    Levels are :math:`\Delta k` for samples near :math:`o + \Delta k`: for layers behind which
    a constant a channel does not matter, because BatchNorm subtracts it. For given codes the best
    :math:`o` and :math:`\Delta` are a linear regression on the codes.

    Args:
      x: samples, any shape.
      bits: 1 to 8.
      signed: False: the shift takes the place of levels on both sides of zero.

    Returns:
      A fit with thresholds at any place and unsigned codes; where the samples are all equal, that
      of a new quantizer.

    Raises:
      ValueError: if signed.
    """
    if signed:
        raise ValueError("signed must be False, got True.")
    num_thresholds = 2**bits - 1
    x = x.reshape(-1).astype(jnp.promote_types(x.dtype, jnp.float32))
    center, std = jnp.mean(x), jnp.std(x)

    def codes(offset: jax.Array, step: jax.Array) -> jax.Array:
        return jnp.clip(jnp.round((x - offset) / step), 0, num_thresholds)

    def update(_: int, line: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        k = codes(*line)
        variance = jnp.var(k)
        slope = jnp.mean((x - center) * (k - k.mean())) / jnp.where(variance > 0, variance, 1)
        step = jnp.where(variance > 0, slope, line[1])
        return center - step * k.mean(), step

    def improve(width: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        step = 2 * width / num_thresholds
        offset, step = lax.fori_loop(0, 16, update, (center - width, step))
        return offset, step, jnp.mean((x - offset - step * codes(offset, step)) ** 2)

    widths = jnp.where(std > 0, std, 1) * jnp.linspace(0.5, 6, 12, dtype=x.dtype)
    offsets, steps, errors = lax.map(improve, widths)
    best = jnp.argmin(errors)
    out_scale = jnp.where(std > 0, steps[best] * num_thresholds / 2, 1.0)
    start = jnp.where(std > 0, offsets[best] / out_scale, 0.0)
    return Fit(
        start, jnp.full((num_thresholds,), 2 / num_thresholds, x.dtype), 1 / out_scale, out_scale
    )


@functools.partial(jax.jit, static_argnames=("bits", "signed"))
def fit_quantiles(x: jax.Array, bits: int, *, signed: bool) -> Fit:
    """Puts the curve's knots at quantiles of the samples: codes are about equally frequent.

    If unsigned, quantiles are those of the positive samples and the first knot is 0. The output
    scale is the one of smallest squared error for these codes.

    Args:
      x: samples, any shape.
      bits: 1 to 8.
      signed: levels on both sides of zero.

    Returns:
      A fit whose knots span 2 in units of ``in_scale * x``; where the samples are all equal, that
      of a new quantizer.
    """
    num_thresholds = 2**bits - 1
    x = x.reshape(-1).astype(jnp.promote_types(x.dtype, jnp.float32))
    tail = 0.5 / (num_thresholds + 1) / 4
    if signed:
        knots = jnp.quantile(x, jnp.linspace(tail, 1 - tail, num_thresholds + 1, dtype=x.dtype))
    else:
        positive = jnp.where(x > 0, x, jnp.nan)
        probabilities = jnp.linspace(0, 1 - tail, num_thresholds + 1, dtype=x.dtype)[1:]
        knots = jnp.nanquantile(positive, probabilities)
        knots = jnp.concatenate([jnp.zeros_like(knots[:1]), knots])
    span = knots[-1] - knots[0]
    usable = jnp.isfinite(span) & (span > 0)
    in_scale = jnp.where(usable, 2 / jnp.where(usable, span, 1), 1.0)
    start = jnp.where(usable, in_scale * knots[0], -1.0 if signed else 0.0)
    intervals = jnp.where(usable, in_scale * jnp.diff(knots), 2 / num_thresholds)
    fit = Fit(start, jnp.maximum(intervals, 2 * MIN_INTERVAL), in_scale, jnp.ones((), x.dtype))
    return fit._replace(out_scale=gain(fit(x, signed=signed).dequantize(), x))


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
    """Returns the squared error relative to the target's power; 0 if both are 0.

    Args:
      approximation: what stands for the target.
      target: of the same shape.
    """
    dtype = jnp.promote_types(target.dtype, jnp.float32)
    a, t = approximation.astype(dtype), target.astype(dtype)
    power = jnp.sum(t * t)
    return jnp.sum((a - t) ** 2) / jnp.where(power > 0, power, 1)


def centered(y: jax.Array) -> jax.Array:
    """Subtracts the mean of each channel; channels are the last axis."""
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
