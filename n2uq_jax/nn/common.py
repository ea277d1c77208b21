"""What the quantized layers share: inputs, dtypes and biases."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype

from n2uq_jax.nn.activation import ActivationQuantizer
from n2uq_jax.quantizers import QArray
from n2uq_jax.quantizers.bits import check_bits


def make_input_quantizer(
    a_bits: int | None, signed: bool, channels: int | None, param_dtype: Dtype
) -> ActivationQuantizer | None:
    """Returns the quantizer of a layer's input, or None for a layer without one."""
    if a_bits is None:
        return nnx.data(None)
    check_bits("a_bits", a_bits)
    return ActivationQuantizer(a_bits, signed=signed, channels=channels, param_dtype=param_dtype)


def reject_replaced_arithmetic(arguments: dict[str, Any], product: str) -> None:
    """Raises if a layer is asked to compute its product in another way.

    Raises:
      TypeError: if one of Flax's hooks is among the arguments.
    """
    for name in (product, "promote_dtype", "preferred_element_type"):
        if name in arguments:
            raise TypeError(
                f"{name} is not an argument of a quantized layer: its product runs on integer "
                "codes; choose their type with operands."
            )


def quantize_inputs(layer, inputs: jax.Array | QArray) -> tuple[QArray | jax.Array, jnp.dtype]:
    """Applies a layer's input quantizer, if it has one.

    Args:
      layer: a module with ``input_quantizer``, ``kernel`` and ``dtype``.
      inputs: a float array, or a QArray if the layer has no quantizer.

    Returns:
      What the layer's product takes, and the dtype of the layer's output.

    Raises:
      TypeError: for a QArray where the layer quantizes by itself, or inputs that are no floats.
    """
    values = inputs.codes if isinstance(inputs, QArray) else jnp.asarray(inputs)
    if not jnp.issubdtype(values.dtype, jnp.floating):
        raise TypeError(f"inputs must be of a float dtype, got {values.dtype}.")
    dtype = jnp.dtype(layer.dtype or jnp.result_type(values, layer.kernel[...]))
    if isinstance(inputs, QArray):
        if layer.input_quantizer is not None:
            raise TypeError(
                "inputs is a QArray, but this layer quantizes its input itself; pass a float "
                "array, or build the layer with a_bits=None."
            )
        return map_codes(lambda codes: codes.astype(dtype), inputs), dtype
    values = values.astype(dtype)
    return (values if layer.input_quantizer is None else layer.input_quantizer(values)), dtype


def map_codes(f: Callable[[jax.Array], jax.Array], x: Any) -> Any:
    """Applies ``f`` to the codes of a QArray, or to a plain array."""
    return dataclasses.replace(x, codes=f(x.codes)) if isinstance(x, QArray) else f(x)


def add_bias(layer, y: jax.Array) -> jax.Array:
    """Adds a layer's bias, if it has one, in the dtype of ``y``."""
    if layer.bias is None:
        return y
    return y + layer.bias[...].astype(y.dtype).reshape((1,) * (y.ndim - 1) + (-1,))
