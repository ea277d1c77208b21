"""Which thresholds a quantizer gets: candidates, and how they are compared."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp

from n2uq_jax.conversion.fit import (
    Fit,
    fit_quantiles,
    fit_shifted_step,
    fit_step,
    gain,
    relative_error,
)
from n2uq_jax.conversion.layers import float_result

Method = Literal["step", "quantiles", "shifted"]

SAMPLES = 2**16
"""How many values of a quantizer's input thresholds are fitted to."""

EXAMPLES = 64
"""How many examples candidates are compared on, by the output of the layer."""


Candidate = tuple[Method, bool, Callable[..., Fit]]
"""A name, a value of ``signed``, and what fits it."""


@dataclasses.dataclass(frozen=True)
class Calibrated:
    """What calibration chose for one quantizer.

    Args:
      method: ``"step"``, equally spaced thresholds of smallest squared error; ``"quantiles"``; or
        ``"shifted"``, as ``"step"`` but with the lowest level at any place.
      signed: whether codes are on both sides of zero.
      error: squared error of the layer's output on the data, relative to the output's power, with
        its weights quantized, up to what BatchNorm will subtract; of the quantizer's own output
        where no layer owns it. None where it was computed inside a transformation such as
        ``nnx.scan``.
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
    normalized: bool = False,
) -> tuple[Calibrated, Fit]:
    """Fits every candidate to samples of a quantizer's input, and keeps the best.

    Args:
      samples: what thresholds are fitted to, any shape.
      bits: 1 to 8.
      signs: which values of ``signed`` to try; one alone inside a transformation.
      layer: the quantized layer that the codes go to; None if there is none.
      x: an input of that layer, to compare candidates on.
      normalized: whether the network's BatchNorm gets new running statistics. Then a constant a
        channel does not matter behind a layer without bias, and the lowest level may be anywhere.

    Returns:
      What was chosen, and its parameters, scaled so that the layer's output fits.
    """
    free = normalized and layer is not None and layer.bias is None
    candidates: list[Candidate] = []
    for signed in signs:
        candidates += [("step", signed, fit_step), ("quantiles", signed, fit_quantiles)]
        if free and not signed:
            candidates.append(("shifted", signed, fit_shifted_step))
    measured = []
    for method, signed, candidate in candidates:
        fit = candidate(samples, bits, signed=signed)
        fit, error = _measure(layer, fit, x[:EXAMPLES], samples, signed, free)
        measured.append((error, method, signed, fit))
    if isinstance(samples, jax.core.Tracer):
        best = jnp.argmin(jnp.stack([error for error, *_ in measured]))
        fits = jax.tree.map(lambda *values: jnp.stack(values)[best], *(m[3] for m in measured))
        return Calibrated(None, signs[0], None), fits
    error, method, signed, fit = min(measured, key=lambda m: float(m[0]))
    return Calibrated(method, signed, float(error)), fit


def possible_signs(signed: bool | None, samples: jax.Array) -> tuple[bool, ...]:
    """Returns the values of ``signed`` to try: unsigned alone where no sample is negative."""
    if signed is not None:
        return (signed,)
    return (False,) if bool(samples.min() >= 0) else (False, True)


def sample(x: jax.Array) -> jax.Array:
    """Returns at most :data:`SAMPLES` of the values of ``x``, flat; all of them if they are few.

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


def _measure(
    layer: Any, fit: Fit, x: jax.Array, samples: jax.Array, signed: bool, free: bool
) -> tuple[Fit, jax.Array]:
    """Scales a candidate's output to fit, and returns the error that is left."""
    if layer is None:
        return fit, relative_error(fit(samples, signed=signed).dequantize(), samples)
    bias, quantizer = layer.bias, layer.input_quantizer
    try:
        layer.bias = None
        layer.use_bias = False
        target = float_result(layer, x)
        layer.input_quantizer = None
        y = layer(fit(x, signed=signed))
    finally:
        layer.bias, layer.input_quantizer = bias, quantizer
        layer.use_bias = bias is not None
    if free:
        y, target = (v - v.mean(range(v.ndim - 1), keepdims=True) for v in (y, target))
    factor = gain(y, target)
    return fit._replace(out_scale=fit.out_scale * factor), relative_error(factor * y, target)
