"""The quantized layers for Flax Linen, with the parameters and numbers of the NNX ones.

``Conv`` stands wherever a model takes ``conv: ModuleDef``::

    conv = functools.partial(n2uq_jax.nn.linen.Conv, w_bits=2, a_bits=2)

Linen names parameters after classes. These are called as those of Flax, so that ``Conv_0/kernel``
is the same parameter in a float and in a quantized network; the parameters of the quantizer lie
beside it in ``Conv_0/input_quantizer``.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen, nnx
from flax.typing import Dtype, Initializer

from n2uq_jax.arithmetic import Operands
from n2uq_jax.nn import conv as nnx_conv
from n2uq_jax.nn import linear as nnx_linear
from n2uq_jax.quantizers import QArray, quantize_activation
from n2uq_jax.quantizers.bits import check_bits


class ActivationQuantizer(linen.Module):
    """Learned thresholds; see :class:`n2uq_jax.nn.ActivationQuantizer`.

    Args:
      bits: 1 to 8.
      signed: codes are the odd integers ``-N .. N`` instead of ``0 .. N``.
      per_channel: one set of thresholds an index of the input's last axis.
      param_dtype: dtype of the four parameters.
      start_init: initializer of ``start``; default 0, or -1 if signed.
      intervals_init: of ``intervals``; default ``2 / N``.
      in_scale_init: of ``in_scale``; default 1.
      out_scale_init: of ``out_scale``; default 1.
    """

    bits: int
    signed: bool = False
    per_channel: bool = False
    param_dtype: Dtype = jnp.float32
    start_init: Initializer | None = None
    intervals_init: Initializer | None = None
    in_scale_init: Initializer = linen.initializers.ones_init()
    out_scale_init: Initializer = linen.initializers.ones_init()

    @linen.compact
    def __call__(self, x: jax.Array, layer: nnx.Module | None = None) -> QArray:
        """Quantizes.

        Args:
          x: float array, shape ``(..., channels)``.
          layer: the NNX layer that takes the codes; calibration reads it, nothing else.

        Returns:
          A QArray.
        """
        levels = 2 ** check_bits("bits", self.bits) - 1
        shape = (x.shape[-1],) if self.per_channel else ()
        constant = linen.initializers.constant
        start_init = self.start_init or constant(-1.0 if self.signed else 0.0)
        intervals_init = self.intervals_init or constant(2 / levels)
        return quantize_activation(
            x,
            self.param("start", start_init, shape, self.param_dtype),
            self.param("intervals", intervals_init, (levels, *shape), self.param_dtype),
            self.param("in_scale", self.in_scale_init, shape, self.param_dtype),
            self.param("out_scale", self.out_scale_init, (), self.param_dtype),
            signed=self.signed,
        )


class Conv(linen.Conv):
    """``nn.Conv`` on integer codes; see :class:`n2uq_jax.nn.QuantConv`.

    Args:
      w_bits: bit width of the weights, 1 to 8; required.
      a_bits: bit width of the inputs, 1 to 8. None: the layer has no input quantizer and takes a
        QArray, or a float array for weight-only quantization.
      signed: the input quantizer's codes are odd integers ``-N .. N`` instead of ``0 .. N``.
      per_channel: thresholds per input channel instead of per tensor.
      operands: the type codes are multiplied in; it changes speed only.
    """

    w_bits: int | None = None
    a_bits: int | None = None
    signed: bool = False
    per_channel: bool = False
    operands: Operands | None = None

    @linen.compact
    def __call__(self, inputs: jax.Array | QArray) -> jax.Array:
        """Convolves ``inputs`` of shape ``(*batch, *spatial, in)``."""
        _reject_hooks(self, "conv_general_dilated", "conv_general_dilated_cls")
        size = self.kernel_size
        window = (size,) if isinstance(size, int) else tuple(size)
        shape = (*window, inputs.shape[-1] // self.feature_group_count, self.features)
        kernel, bias = _parameters(self, shape)
        layer = nnx_conv.QuantConv(
            inputs.shape[-1],
            self.features,
            window,
            self.strides,
            padding=self.padding,
            input_dilation=self.input_dilation,
            kernel_dilation=self.kernel_dilation,
            feature_group_count=self.feature_group_count,
            mask=self.mask,
            **_arguments(self, kernel, bias),
        )
        return layer(_quantize_inputs(self, inputs, layer))


class Dense(linen.Dense):
    """``nn.Dense`` on integer codes; see :class:`n2uq_jax.nn.QuantLinear`.

    Args:
      w_bits: bit width of the weights, 1 to 8; required.
      a_bits: bit width of the inputs, 1 to 8. None: the layer has no input quantizer and takes a
        QArray, or a float array for weight-only quantization.
      signed: the input quantizer's codes are odd integers ``-N .. N`` instead of ``0 .. N``.
      per_channel: thresholds per input feature instead of per tensor.
      operands: the type codes are multiplied in; it changes speed only.
    """

    w_bits: int | None = None
    a_bits: int | None = None
    signed: bool = False
    per_channel: bool = False
    operands: Operands | None = None

    @linen.compact
    def __call__(self, inputs: jax.Array | QArray) -> jax.Array:
        """Multiplies ``inputs`` of shape ``(..., in)``."""
        _reject_hooks(self, "dot_general", "dot_general_cls")
        kernel, bias = _parameters(self, (inputs.shape[-1], self.features))
        layer = nnx_linear.QuantLinear(
            inputs.shape[-1], self.features, **_arguments(self, kernel, bias)
        )
        return layer(_quantize_inputs(self, inputs, layer))


QuantConv, QuantDense = Conv, Dense
"""The same classes by the names that go with NNX."""


def _parameters(module: Any, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array | None]:
    kernel = module.param("kernel", module.kernel_init, shape, module.param_dtype)
    if not module.use_bias:
        return kernel, None
    return kernel, module.param("bias", module.bias_init, shape[-1:], module.param_dtype)


def _arguments(module: Any, kernel: jax.Array, bias: jax.Array | None) -> dict[str, Any]:
    """Returns what makes an NNX layer that holds these parameters, and takes codes."""

    def given(value: jax.Array | None) -> Callable[..., jax.Array | None]:
        return lambda key, shape, dtype: value

    return {
        "w_bits": module.w_bits,
        "a_bits": None,
        "operands": module.operands,
        "use_bias": module.use_bias,
        "dtype": module.dtype,
        "param_dtype": module.param_dtype,
        "precision": module.precision,
        "kernel_init": given(kernel),
        "bias_init": given(bias),
        "rngs": nnx.Rngs(0),
    }


def _quantize_inputs(module: Any, inputs: jax.Array | QArray, layer: Any) -> jax.Array | QArray:
    if module.a_bits is None:
        return inputs
    if isinstance(inputs, QArray):
        raise TypeError(
            "inputs is a QArray, but this layer quantizes its input itself; pass a float array, or "
            "build the layer with a_bits=None."
        )
    quantizer = ActivationQuantizer(
        module.a_bits,
        signed=module.signed,
        per_channel=module.per_channel,
        param_dtype=module.param_dtype,
        name="input_quantizer",
    )
    dtype = layer.dtype or jnp.promote_types(inputs.dtype, module.param_dtype)
    return quantizer(inputs.astype(dtype), layer)


def _reject_hooks(module: Any, *names: str) -> None:
    if module.w_bits is None:
        raise ValueError("w_bits must be given, from 1 to 8, got None.")
    for name in names:
        if getattr(module, name) is not None:
            raise TypeError(
                f"{name} is not an argument of a quantized layer: its product runs on integer "
                "codes; choose their type with operands."
            )
