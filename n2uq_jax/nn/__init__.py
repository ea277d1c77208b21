"""Flax NNX layers over the quantizers."""

from n2uq_jax.nn import integer as integer
from n2uq_jax.nn.activation import PACT as PACT
from n2uq_jax.nn.activation import ActivationQuantizer as ActivationQuantizer
from n2uq_jax.nn.batch_norm import BatchNorm as BatchNorm
from n2uq_jax.nn.conv import QuantConv as QuantConv
from n2uq_jax.nn.conv_transpose import QuantConvTranspose as QuantConvTranspose
from n2uq_jax.nn.einsum import QuantEinsum as QuantEinsum
from n2uq_jax.nn.labels import optimizer_labels as optimizer_labels
from n2uq_jax.nn.linear import QuantLinear as QuantLinear
from n2uq_jax.nn.linear_general import QuantLinearGeneral as QuantLinearGeneral
from n2uq_jax.nn.observe import quantizer_inputs as quantizer_inputs
from n2uq_jax.nn.observe import quantizers as quantizers
from n2uq_jax.nn.quantized import QuantizedLayer as QuantizedLayer
from n2uq_jax.nn.rprelu import RPReLU as RPReLU
