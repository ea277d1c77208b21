"""Which thresholds a quantizer gets: candidates, how they are compared, and the best refined."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp

from n2uq_jax.conversion.calibration.fit import (
    Fit,
    centered,
    decorrelation,
    fit_quantiles,
    fit_shifted_step,
    fit_step,
    gain,
    relative_error,
)

Method = Literal["step", "quantiles", "shifted", "published"]

SAMPLES = 2**16
"""How many values of a quantizer's input thresholds are fitted to."""

EXAMPLES = 64
"""How many examples candidates are compared on, by the output of the layer."""

WIDTHS = (0.5, 0.15)
"""How far the best candidate's range and place are varied: octaves, and intervals; then again."""

Candidate = tuple[Method, bool, Callable[..., Fit]]
"""A name, a value of ``signed``, and what fits it."""


@dataclasses.dataclass(frozen=True)
class Calibrated:
    """What calibration chose for one quantizer.

    Args:
      method: ``"step"``, equally spaced thresholds of smallest squared error; ``"quantiles"``; or
        ``"shifted"``, as ``"step"`` but with the lowest level at any place; ``"published"``, what
        the paper of LSQ or DoReFa says.
      signed: whether codes are on both sides of zero.
      error: squared error of the layer's output on the data, with its weights quantized, relative
        to the output's power. Where BatchNorm will give each channel a new mean and scale, it is
        the mean over channels of ``1 - r**2``, with ``r`` the correlation with the float layer's
        output. Where no layer owns the quantizer, it is the error of its own output. None for the
        quantizers of other methods than N2UQ, and inside a transformation such as ``nnx.scan``.
    """

    method: Method | None
    signed: bool
    error: float | None


def choose(
    samples: jax.Array,
    bits: int,
    signs: Sequence[bool],
    layer: Any,
    x: jax.Array,
    *,
    equal: bool = False,
    normalized: bool = False,
) -> tuple[Calibrated, Fit]:
    """Fits every candidate to samples of a quantizer's input, and refines the best.

    Candidates minimize the error of the quantizer's input; what counts is that of its layer's
    output. So the best one's range is then stretched, and its thresholds are moved, as long as
    that helps the output; not inside a transformation, where it would be compiled many times.

    Args:
      samples: what thresholds are fitted to, any shape.
      bits: 1 to 8.
      signs: which values of ``signed`` to try; one alone inside a transformation.
      layer: the quantized layer that the codes go to; None if there is none.
      x: an input of that layer, to compare candidates on.
      equal: only thresholds at equal distances, for a quantizer that does not learn them.
      normalized: whether the network's BatchNorm gets new running statistics. Then a constant and
        a factor a channel do not matter behind a layer without bias, and the lowest level may be
        anywhere.

    Returns:
      What was chosen, and its parameters, scaled so that the layer's output fits.
    """
    affine_free = normalized and layer is not None and layer.bias is None
    candidates: list[Candidate] = []
    for signed in signs:
        candidates.append(("step", signed, fit_step))
        if not equal:
            candidates.append(("quantiles", signed, fit_quantiles))
        if affine_free and not signed:
            candidates.append(("shifted", signed, fit_shifted_step))
    measure = _measured_by_output(layer, x[:EXAMPLES], samples, affine_free)
    measured = []
    for method, signed, candidate in candidates:
        fit, error = measure(candidate(samples, bits, signed=signed), signed)
        measured.append((error, method, signed, fit))
    if isinstance(samples, jax.core.Tracer):
        i = jnp.argmin(jnp.stack([error for error, *_ in measured]))
        fits = jax.tree.map(lambda *values: jnp.stack(values)[i], *(m[3] for m in measured))
        return Calibrated(None, signs[0], None), fits
    error, method, signed, fit = min(measured, key=lambda m: float(m[0]))
    best = float(error)
    if layer is not None:
        fit, best = _refined(fit, best, lambda candidate: measure(candidate, signed))
    return Calibrated(method, signed, best), fit


def possible_signs(signed: bool | None, samples: jax.Array) -> tuple[bool, ...]:
    """Returns the values of ``signed`` to try: unsigned alone where no sample is negative."""
    if signed is not None:
        return (signed,)
    return (False,) if bool(samples.min() >= 0) else (False, True)


def sample(x: jax.Array) -> jax.Array:
    """Returns at most :data:`SAMPLES` of the values of ``x``, flat; all of them if they are few.

    Args:
      x: any floats.

    Raises:
      ValueError: if one is not finite.
    """
    x = x.reshape(-1)
    if x.size > SAMPLES:
        # At random and not at a fixed stride, which could meet the same channels again and again.
        x = x[jax.random.randint(jax.random.key(0), (SAMPLES,), 0, x.size)]
    if not isinstance(x, jax.core.Tracer) and not bool(jnp.isfinite(x).all()):
        raise ValueError("the input of a quantizer is not finite: is the model sound?")
    return x


def _refined(
    fit: Fit, error: float, measure: Callable[[Fit], tuple[Fit, jax.Array]]
) -> tuple[Fit, float]:
    """Varies the range and the place of thresholds, one after the other, and keeps the best."""
    for width in WIDTHS:
        steps = jnp.linspace(-width, width, 7, dtype=fit.start.dtype)
        for vary in (_stretched, _moved):
            measured = [measure(vary(fit, step)) for step in steps]
            tried = [(fit, error), *((candidate, float(e)) for candidate, e in measured)]
            fit, error = min(tried, key=lambda pair: pair[1])
    return fit, error


def _stretched(fit: Fit, octaves: jax.Array) -> Fit:
    factor = 2**octaves
    return fit._replace(in_scale=fit.in_scale / factor, out_scale=fit.out_scale * factor)


def _moved(fit: Fit, intervals: jax.Array) -> Fit:
    return fit._replace(start=fit.start + intervals * fit.intervals[0])


def _measured_by_output(
    layer: Any, x: jax.Array, samples: jax.Array, affine_free: bool
) -> Callable[[Fit, bool], tuple[Fit, jax.Array]]:
    """Returns what scales a candidate's output to fit, and measures the error that is left."""
    if layer is None:
        return lambda fit, signed: (
            fit,
            relative_error(fit(samples, signed=signed).dequantize(), samples),
        )
    with _bare(layer):
        target = layer.call_float(x)
    fit_to = centered(target) if affine_free else target
    error = decorrelation if affine_free else relative_error

    def measure(fit: Fit, signed: bool) -> tuple[Fit, jax.Array]:
        with _bare(layer):
            y = layer(fit(x, signed=signed))
        factor = gain(centered(y) if affine_free else y, fit_to)
        return fit._replace(out_scale=fit.out_scale * factor), error(factor * y, target)

    return measure


@contextlib.contextmanager
def _bare(layer: Any) -> Iterator[None]:
    """Takes the bias and the quantizer off a layer, which then takes codes."""
    bias, quantizer = layer.bias, layer.input_quantizer
    layer.bias, layer.input_quantizer, layer.use_bias = None, None, False
    try:
        yield
    finally:
        layer.bias, layer.input_quantizer, layer.use_bias = bias, quantizer, bias is not None
