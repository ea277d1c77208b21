"""Layers of integer-only networks: in evaluation nothing is float from pixels to logits.

Between layers passes a :class:`~n2uq_jax.quantizers.QArray` of integers, their scale, and a bound
of their magnitude from which each layer proves that its 32-bit arithmetic cannot overflow. In
evaluation the integers are int32; in training they are the same integers in float32, rounded
straight-through, so that gradients pass. ``model.train()`` and ``model.eval()`` switch. Pixels and
batch normalization start either kind; all other layers follow what they are given.

The quantized layers of :mod:`n2uq_jax.nn` stay as they are: ``QuantConv`` reads ``x.dequantize()``,
whose thresholds export reads off for every integer, and ``QuantConv.sums`` returns what
:class:`IntegerBatchNorm` takes.
"""

from n2uq_jax.nn.integer.activation import IntegerRPReLU as IntegerRPReLU
from n2uq_jax.nn.integer.activation import add as add
from n2uq_jax.nn.integer.activation import relu as relu
from n2uq_jax.nn.integer.batch_norm import IntegerBatchNorm as IntegerBatchNorm
from n2uq_jax.nn.integer.calibration import grids as grids
from n2uq_jax.nn.integer.calibration import set_grids as set_grids
from n2uq_jax.nn.integer.grid import Grid as Grid
from n2uq_jax.nn.integer.grid import GridStep as GridStep
from n2uq_jax.nn.integer.pixels import Pixels as Pixels
from n2uq_jax.nn.integer.pool import average_pool as average_pool
from n2uq_jax.nn.integer.pool import max_pool as max_pool
from n2uq_jax.nn.integer.products import IntegerConv as IntegerConv
from n2uq_jax.nn.integer.products import IntegerLinear as IntegerLinear
