"""The quantized layers for Flax Linen, with the parameters and numbers of the NNX ones.

``Conv`` stands wherever a model takes ``conv: ModuleDef``::

    conv = functools.partial(n2uq_jax.nn.linen.Conv, w_bits=2, a_bits=2)

Linen names parameters after classes. These are called as those of Flax, so that ``Conv_0/kernel``
is the same parameter in a float and in a quantized network; the parameters of the quantizer lie
beside it in ``Conv_0/input_quantizer``.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen, nnx
from flax.typing import Dtype, Initializer

from n2uq_jax.arithmetic import Operands
from n2uq_jax.nn import conv as nnx_conv
from n2uq_jax.nn import linear as nnx_linear
from n2uq_jax.nn.quantized import HOOKS, check_options, reject_codes, reject_hook
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
        num_thresholds = 2 ** check_bits("bits", self.bits) - 1
        shape = (x.shape[-1],) if self.per_channel else ()
        constant = linen.initializers.constant
        start_init = self.start_init or constant(-1.0 if self.signed else 0.0)
        intervals_init = self.intervals_init or constant(2 / num_thresholds)
        return quantize_activation(
            x,
            self.param("start", start_init, shape, self.param_dtype),
            self.param("intervals", intervals_init, (num_thresholds, *shape), self.param_dtype),
            self.param("in_scale", self.in_scale_init, shape, self.param_dtype),
            self.param("out_scale", self.out_scale_init, (), self.param_dtype),
            signed=self.signed,
        )


@dataclasses.dataclass(repr=False, eq=False)
class _Quantized:
    """What the quantized layers share: options, and the NNX layer that computes.

    A mixin in front of a layer of Linen, whose fields these follow.
    """

    w_bits: int | None = None
    a_bits: int | None = None
    signed: bool = False
    per_channel: bool = False
    operands: Operands | None = None

    def _run(self: Any, inputs: jax.Array | QArray, quantized: Any, *sizes: Any, **own: Any):
        """Makes parameters, and calls the NNX layer around them with codes.

        Args:
          inputs: of the layer.
          quantized: the class of the NNX layer.
          *sizes: its positional arguments.
          **own: its arguments that not every layer has.

        Returns:
          The layer's output.
        """
        if self.w_bits is None:
            raise ValueError("w_bits must be given, from 1 to 8, got None.")
        for name in HOOKS:
            if name != "promote_dtype" and getattr(self, name, None) is not None:
                reject_hook(name)
        check_options(
            a_bits=self.a_bits,
            signed=self.signed,
            per_channel=self.per_channel,
            operands=self.operands,
        )

        def parameter(name: str) -> Initializer:
            init = getattr(self, f"{name}_init")
            return lambda key, shape, dtype: self.param(name, init, shape, dtype)

        layer = quantized(
            *sizes,
            **own,
            w_bits=self.w_bits,
            a_bits=None,
            operands=self.operands,
            use_bias=self.use_bias,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            precision=self.precision,
            kernel_init=parameter("kernel"),
            bias_init=parameter("bias"),
            rngs=nnx.Rngs(0),
        )
        if self.a_bits is None:
            return layer(inputs)
        if isinstance(inputs, QArray):
            reject_codes()
        quantizer = ActivationQuantizer(
            self.a_bits,
            signed=self.signed,
            per_channel=self.per_channel,
            param_dtype=self.param_dtype,
            name="input_quantizer",
        )
        dtype = layer.dtype or jnp.promote_types(inputs.dtype, self.param_dtype)
        return layer(quantizer(inputs.astype(dtype), layer))


class Conv(_Quantized, linen.Conv):
    """``nn.Conv`` on integer codes; see :class:`n2uq_jax.nn.QuantConv`.

    Args:
      w_bits: bit width of the weights, 1 to 8; required.
      a_bits: bit width of the inputs, 1 to 8. None: the layer has no input quantizer and takes a
        QArray, or a float array for weight-only quantization.
      signed: the input quantizer's codes are odd integers ``-N .. N`` instead of ``0 .. N``.
      per_channel: thresholds per input channel instead of per tensor.
      operands: the type codes are multiplied in; it changes speed only.
    """

    @linen.compact
    def __call__(self, inputs: jax.Array | QArray) -> jax.Array:
        """Convolves ``inputs`` of shape ``(*batch, *spatial, in)``."""
        return self._run(
            inputs,
            nnx_conv.QuantConv,
            inputs.shape[-1],
            self.features,
            self.kernel_size,
            self.strides,
            padding=self.padding,
            input_dilation=self.input_dilation,
            kernel_dilation=self.kernel_dilation,
            feature_group_count=self.feature_group_count,
            mask=self.mask,
        )


class Dense(_Quantized, linen.Dense):
    """``nn.Dense`` on integer codes; see :class:`n2uq_jax.nn.QuantLinear`.

    Args:
      w_bits: bit width of the weights, 1 to 8; required.
      a_bits: bit width of the inputs, 1 to 8. None: the layer has no input quantizer and takes a
        QArray, or a float array for weight-only quantization.
      signed: the input quantizer's codes are odd integers ``-N .. N`` instead of ``0 .. N``.
      per_channel: thresholds per input feature instead of per tensor.
      operands: the type codes are multiplied in; it changes speed only.
    """

    @linen.compact
    def __call__(self, inputs: jax.Array | QArray) -> jax.Array:
        """Multiplies ``inputs`` of shape ``(..., in)``."""
        return self._run(inputs, nnx_linear.QuantLinear, inputs.shape[-1], self.features)


QuantConv, QuantDense = Conv, Dense
"""The same classes by the names that go with NNX."""
