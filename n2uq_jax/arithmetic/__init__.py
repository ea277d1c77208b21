"""Sums of products of integer codes, the same integers in every arithmetic."""

from n2uq_jax.arithmetic.convolution import conv_sums as conv_sums
from n2uq_jax.arithmetic.convolution import quantized_conv as quantized_conv
from n2uq_jax.arithmetic.exactness import Operands as Operands
from n2uq_jax.arithmetic.matmul import matmul_sums as matmul_sums
from n2uq_jax.arithmetic.matmul import quantized_matmul as quantized_matmul
from n2uq_jax.arithmetic.rescaling import Rescaling as Rescaling
from n2uq_jax.arithmetic.rescaling import make_rescaling as make_rescaling
from n2uq_jax.arithmetic.rescaling import rescale as rescale
from n2uq_jax.arithmetic.selftest import SelfTest as SelfTest
from n2uq_jax.arithmetic.selftest import selftest as selftest
from n2uq_jax.isolation import boundary as boundary
