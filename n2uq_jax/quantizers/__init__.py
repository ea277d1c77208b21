"""Pure functions from float arrays to integer codes and scales."""

from n2uq_jax.quantizers.activation import MIN_INTERVAL as MIN_INTERVAL
from n2uq_jax.quantizers.activation import effective_intervals as effective_intervals
from n2uq_jax.quantizers.activation import knots as knots
from n2uq_jax.quantizers.activation import quantize_activation as quantize_activation
from n2uq_jax.quantizers.activation import thresholds as thresholds
from n2uq_jax.quantizers.pact import quantize_pact as quantize_pact
from n2uq_jax.quantizers.qarray import QArray as QArray
from n2uq_jax.quantizers.symmetric import quantize_symmetric as quantize_symmetric
from n2uq_jax.quantizers.weights import quantize_weight as quantize_weight
