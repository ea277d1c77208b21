"""Starting values of the uniform quantizers, from samples of their input."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from n2uq_jax.conversion.calibration.choose import Calibrated
from n2uq_jax.conversion.calibration.fit import fit_step, relative_error
from n2uq_jax.nn import LSQ, PACT, DoReFa
from n2uq_jax.quantizers import lsq_step, quantize_lsq


def start(
    quantizer: LSQ | PACT | DoReFa, samples: jax.Array, signs: Sequence[bool] = (False,)
) -> Calibrated:
    r"""Gives a quantizer its starting values, in place.

    LSQ's step begins at :math:`2 \langle |x| \rangle / \sqrt{Q_P}`, as its paper says. PACT's clip
    begins at the range of smallest squared error. DoReFa has nothing to set.

    Args:
      quantizer: changed in place.
      samples: of its input, any shape.
      signs: values of ``signed`` to choose from, of which LSQ takes the one with the smaller
        error; the others are never signed. One alone inside a transformation.

    Returns:
      What was chosen.

    Reference:
      Esser et al., "Learned Step Size Quantization", ICLR 2020, Section 2.1.
    """
    if isinstance(quantizer, LSQ):
        quantizer.signed = signs[0]
        if len(signs) > 1:
            quantizer.signed = min(signs, key=lambda signed: _lsq_error(quantizer, samples, signed))
        step = lsq_step(samples, quantizer.bits, signed=quantizer.signed)
        quantizer.step[...] = step.astype(quantizer.step[...].dtype)
        return Calibrated("published", quantizer.signed, None)
    if isinstance(quantizer, PACT):
        clip = 2 * fit_step(samples, quantizer.bits, signed=False).out_scale
        quantizer.clip[...] = clip.astype(quantizer.clip[...].dtype)
        return Calibrated("step", False, None)
    return Calibrated("published", False, None)


def _lsq_error(quantizer: LSQ, samples: jax.Array, signed: bool) -> float:
    step = lsq_step(samples, quantizer.bits, signed=signed)
    q = quantize_lsq(samples, jnp.asarray(step), quantizer.bits, signed=signed)
    return float(relative_error(q.dequantize(), samples))
