"""The quantized layer that takes a float layer's place."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from n2uq_jax.conversion.rules import Rule
from n2uq_jax.nn.conv import QuantConv
from n2uq_jax.nn.conv_transpose import QuantConvTranspose
from n2uq_jax.nn.einsum import QuantEinsum, parse_subscripts
from n2uq_jax.nn.linear import QuantLinear
from n2uq_jax.nn.linear_general import QuantLinearGeneral

FLOAT_LAYERS = (nnx.Conv, nnx.ConvTranspose, nnx.Linear, nnx.LinearGeneral, nnx.Einsum)
"""The layers of Flax that have a quantized form here."""

QUANTIZED_LAYERS = (
    QuantConv, QuantConvTranspose, QuantLinear, QuantLinearGeneral, QuantEinsum
)  # fmt: skip
"""Their quantized forms, each a subclass."""


def float_class(layer: nnx.Module) -> type[nnx.Module] | None:
    """Returns which of :data:`FLOAT_LAYERS` a layer is, or None."""
    return next((kind for kind in FLOAT_LAYERS if isinstance(layer, kind)), None)


def float_result(layer: Any, x: jax.Array) -> jax.Array:
    """Returns what a quantized layer's float form makes of ``x``, with the same kernel and bias."""
    kind: Any = float_class(layer)
    return kind.__call__(layer, x)


def why_not(layer: Any) -> str | None:
    """Says why a layer of :data:`FLOAT_LAYERS` cannot be quantized.

    Args:
      layer: one of them.

    Returns:
      A reason, or None if it can.
    """
    kind = float_class(layer)
    assert kind is not None
    if isinstance(layer, QUANTIZED_LAYERS):
        return "quantized already"
    if type(layer).__call__ is not kind.__call__:
        return f"a subclass of {kind.__name__} with a __call__ of its own"
    default = inspect.signature(kind.__init__).parameters
    hooks = ("conv_general_dilated", "dot_general", "dot_general_cls", "einsum_op")
    for name in (*hooks, "promote_dtype", "preferred_element_type"):
        if name in default and getattr(layer, name) is not default[name].default:
            return f"its {name} is not Flax's own"
    if isinstance(layer, nnx.LinearGeneral) and layer.batch_axis:
        return "it has batch axes"
    if isinstance(layer, nnx.ConvTranspose) and layer.padding == "CIRCULAR":
        return "its padding is circular"
    if isinstance(layer, nnx.ConvTranspose) and layer.mask is not None:
        return "it has a mask"
    if isinstance(layer, nnx.Einsum):
        if layer.einsum_str is None:
            return "it gets its einsum_str in the call"
        try:
            parse_subscripts(layer.einsum_str)
        except ValueError:
            return f"{layer.einsum_str!r} is no matrix product of input and kernel"
    expected, shape = _kernel_shape(layer), tuple(layer.kernel.shape)
    if shape[len(shape) - len(expected) :] != expected:
        return f"its kernel has shape {shape}, but its arguments say {expected}"
    return None


def quantized_layer(layer: Any, rule: Rule) -> nnx.Module:
    """Builds the quantized form of a layer around the layer's own parameters.

    Kernel and bias are the same ``nnx.Variable`` objects, with their metadata. Where they carry
    leading axes, as the layers of an ``nnx.vmap`` or ``nnx.scan`` over axis 0 do, the quantizer's
    parameters get them too.

    Args:
      layer: one that :func:`why_not` has nothing against.
      rule: its bit widths.

    Returns:
      The quantized layer.
    """
    shared = {
        "w_bits": rule.w_bits,
        "a_bits": rule.a_bits,
        "signed": bool(rule.signed),
        "per_channel": rule.per_channel,
        "operands": rule.operands,
        "dtype": layer.dtype,
        "param_dtype": layer.param_dtype,
        "precision": layer.precision,
        "kernel_init": nnx.initializers.zeros_init(),  # replaced below, as the bias is
        "rngs": nnx.Rngs(0),
    }
    new = _build(layer, shared)
    new.kernel, new.bias = layer.kernel, layer.bias
    if new.input_quantizer is not None:
        if rule.signed is None:
            new.input_quantizer.signed = None
        stack = tuple(layer.kernel.shape[: layer.kernel.ndim - len(_kernel_shape(layer))])
        if stack:
            for name in ("start", "intervals", "in_scale", "out_scale"):
                value = getattr(new.input_quantizer, name)[...]
                stacked = jnp.broadcast_to(value, stack + value.shape)
                setattr(new.input_quantizer, name, nnx.Param(stacked))
    return new


def _build(layer: Any, shared: dict[str, Any]) -> Any:
    if isinstance(layer, nnx.Conv):
        return QuantConv(
            layer.in_features,
            layer.out_features,
            layer.kernel_size,
            layer.strides,
            padding=layer.padding,
            input_dilation=layer.input_dilation,
            kernel_dilation=layer.kernel_dilation,
            feature_group_count=layer.feature_group_count,
            use_bias=layer.use_bias,
            mask=layer.mask,
            **shared,
        )
    if isinstance(layer, nnx.ConvTranspose):
        return QuantConvTranspose(
            layer.in_features,
            layer.out_features,
            layer.kernel_size,
            layer.strides,
            padding=layer.padding,
            kernel_dilation=layer.kernel_dilation,
            use_bias=layer.use_bias,
            transpose_kernel=layer.transpose_kernel,
            **shared,
        )
    if isinstance(layer, nnx.Linear):
        return QuantLinear(layer.in_features, layer.out_features, use_bias=layer.use_bias, **shared)
    if isinstance(layer, nnx.LinearGeneral):
        return QuantLinearGeneral(
            layer.in_features,
            layer.out_features,
            axis=layer.axis,
            use_bias=layer.use_bias,
            **shared,
        )
    return QuantEinsum(layer.einsum_str, layer.kernel_shape, layer.bias_shape, **shared)


def _kernel_shape(layer: Any) -> tuple[int, ...]:
    """Returns the shape that a layer's arguments give its kernel."""
    if isinstance(layer, nnx.Linear):
        return layer.in_features, layer.out_features
    if isinstance(layer, nnx.LinearGeneral):
        return (*layer.in_features, *layer.out_features)
    return tuple(layer.kernel_shape)
