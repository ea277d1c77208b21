"""Any NNX model into a quantized one: rules, calibration, running statistics."""

from n2uq_jax.conversion.calibration.batch_norm import (
    reestimate_batch_norm as reestimate_batch_norm,
)
from n2uq_jax.conversion.calibration.calibrate import calibrate as calibrate
from n2uq_jax.conversion.plan import plan as plan
from n2uq_jax.conversion.quantize import quantize as quantize
from n2uq_jax.conversion.rules import Rule as Rule
