"""How many bytes a network takes where it is stored for evaluation."""

import jax
import jax.numpy as jnp
from flax import nnx

from n2uq_jax.nn import QuantizedLayer
from n2uq_jax.nn.integer import IntegerConv, IntegerLinear

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
    layers = {
        id(module.kernel): module
        for _, module in nnx.iter_modules(model)
        if isinstance(module, QuantizedLayer | IntegerConv | IntegerLinear)
    }
    total = 0
    for _, variable in nnx.iter_graph(model):
        if not isinstance(variable, nnx.Param | nnx.BatchStat):
            continue
        if (layer := layers.get(id(variable))) is not None:
            bits = layer.w_bits if isinstance(layer, QuantizedLayer) else layer.bits
            total += (variable.size * bits + 7) // 8 + FLOAT_BYTES * _scales(layer)
        elif jnp.issubdtype(variable.dtype, jnp.floating):
            total += FLOAT_BYTES * variable.size
    return total


def _scales(layer: QuantizedLayer | IntegerConv | IntegerLinear) -> int:
    """Returns how many scales a layer's kernel has, which may be an abstract one."""
    if isinstance(layer, IntegerLinear):
        return 1
    if isinstance(layer, IntegerConv):
        return layer.out_features
    graphdef, state = nnx.split(layer)
    return jax.eval_shape(lambda s: nnx.merge(graphdef, s).quantized_kernel().scale, state).size
