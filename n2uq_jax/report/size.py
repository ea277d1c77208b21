"""How many bytes a network takes where it is stored for evaluation."""

import jax.numpy as jnp
from flax import nnx

from n2uq_jax.nn import QuantConv, QuantLinear

FLOAT_BYTES = 4
"""Bytes of a float32, whatever dtype training used."""


def model_bytes(model: nnx.Module) -> int:
    r"""Counts the bytes of what evaluation reads of a network.

    A quantized kernel of ``n`` weights of ``b`` bits and ``c`` output channels takes
    :math:`\lceil n b / 8 \rceil` bytes of codes, packed at their bit width, and ``4 c`` bytes of
    scales. Every other parameter and running statistic takes 4 bytes a value. Integer counters,
    which evaluation does not read, take nothing.

    Args:
      model: any NNX module, quantized or not; arrays that occur twice count once.

    Returns:
      The number of bytes.
    """
    w_bits = {
        id(module.kernel): module.w_bits
        for _, module in nnx.iter_modules(model)
        if isinstance(module, QuantConv | QuantLinear)
    }
    total = 0
    for _, variable in nnx.iter_graph(model):
        if not isinstance(variable, nnx.Param | nnx.BatchStat):
            continue
        if id(variable) in w_bits:
            code_bits = variable.size * w_bits[id(variable)]
            total += (code_bits + 7) // 8 + FLOAT_BYTES * variable.shape[-1]
        elif jnp.issubdtype(variable.dtype, jnp.floating):
            total += FLOAT_BYTES * variable.size
    return total
