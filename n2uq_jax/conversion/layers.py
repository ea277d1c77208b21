"""Which layers of Flax have a quantized form here, and which."""

from flax import nnx

from n2uq_jax.nn import (
    QuantConv,
    QuantConvTranspose,
    QuantEinsum,
    QuantizedLayer,
    QuantLinear,
    QuantLinearGeneral,
)

QUANTIZED_LAYERS: tuple[type[QuantizedLayer], ...] = (
    QuantConv,
    QuantConvTranspose,
    QuantLinear,
    QuantLinearGeneral,
    QuantEinsum,
)
"""Each says itself which layer it is the quantized form of, and which of those it takes."""


def quantized_form(layer: nnx.Module) -> type[QuantizedLayer] | None:
    """Returns the class that takes a layer's place, or None for what is no product.

    Args:
      layer: any NNX module; a subclass of a layer counts as that layer.

    Returns:
      One of :data:`QUANTIZED_LAYERS`, or None.
    """
    return next((kind for kind in QUANTIZED_LAYERS if isinstance(layer, kind.float_class)), None)
