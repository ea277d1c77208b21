"""Pure functions from float arrays to integer codes and scales."""

from n2uq_jax.quantizers.activation import MIN_INTERVAL as MIN_INTERVAL
from n2uq_jax.quantizers.activation import effective_intervals as effective_intervals
from n2uq_jax.quantizers.activation import knots as knots
from n2uq_jax.quantizers.activation import quantize_activation as quantize_activation
from n2uq_jax.quantizers.activation import thresholds as thresholds
from n2uq_jax.quantizers.dorefa import quantize_dorefa as quantize_dorefa
from n2uq_jax.quantizers.dorefa import quantize_dorefa_weight as quantize_dorefa_weight
from n2uq_jax.quantizers.lsq import lsq_step as lsq_step
from n2uq_jax.quantizers.lsq import quantize_lsq as quantize_lsq
from n2uq_jax.quantizers.lsq import quantize_lsq_weight as quantize_lsq_weight
from n2uq_jax.quantizers.pact import quantize_pact as quantize_pact
from n2uq_jax.quantizers.qarray import QArray as QArray
from n2uq_jax.quantizers.sawb import quantize_sawb as quantize_sawb
from n2uq_jax.quantizers.symmetric import quantize_symmetric as quantize_symmetric
from n2uq_jax.quantizers.weights import quantize_weight as quantize_weight
