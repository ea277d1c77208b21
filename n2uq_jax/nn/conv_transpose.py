"""A transposed convolution with quantized weights and inputs."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from n2uq_jax.arithmetic import Operands, quantized_conv
from n2uq_jax.nn.common import (
    add_bias,
    make_input_quantizer,
    map_codes,
    quantize_inputs,
    reject_replaced_arithmetic,
)
from n2uq_jax.quantizers import QArray, quantize_weight
from n2uq_jax.quantizers.bits import check_bits


class QuantConvTranspose(nnx.ConvTranspose):
    """``nnx.ConvTranspose`` on integer codes; it owns the quantizer of its input.

    A convolution of the input's codes with zeros between them; a zero is the code 0.

    Args:
      in_features: number of input channels.
      out_features: number of output channels; each has a weight scale of its own.
      kernel_size: window, an int for one spatial axis or a sequence for one to three.
      strides: as in ``nnx.ConvTranspose``.
      w_bits: bit width of the weights, 1 to 8.
      a_bits: bit width of the inputs, 1 to 8. None: the layer has no input quantizer and takes a
        QArray, or a float array for weight-only quantization.
      signed: the input quantizer's codes are odd integers ``-N .. N`` instead of ``0 .. N``.
      per_channel: thresholds per input channel instead of per tensor.
      operands: the type codes are multiplied in, ``"float32"``, ``"bfloat16"`` or ``"int8"``; None
        for the computation's dtype where that is exact and int32 elsewhere. It changes speed only.
      rngs: the key stream ``params``.
      **kwargs: ``nnx.ConvTranspose``'s other arguments: padding (all but ``"CIRCULAR"``),
        kernel_dilation, use_bias, dtype, param_dtype, precision, kernel_init, bias_init,
        transpose_kernel, kernel_metadata, bias_metadata.

    Raises:
      ValueError: for a mask, or circular padding.

    Reference:
      Liu et al., "Nonuniform-to-Uniform Quantization", CVPR 2022.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] | None = None,
        *,
        w_bits: int,
        a_bits: int | None,
        signed: bool = False,
        per_channel: bool = False,
        operands: Operands | None = None,
        rngs: nnx.Rngs,
        **kwargs,
    ):
        reject_replaced_arithmetic(kwargs, "conv_transpose")
        if kwargs.get("mask") is not None:
            raise ValueError("mask must be None: a transposed convolution has no quantized mask.")
        if kwargs.get("padding") == "CIRCULAR":
            raise ValueError("padding must be 'SAME', 'VALID' or numbers, got 'CIRCULAR'.")
        super().__init__(in_features, out_features, kernel_size, strides, rngs=rngs, **kwargs)
        self.w_bits = check_bits("w_bits", w_bits)
        self.a_bits = a_bits
        self.operands = operands
        self.input_quantizer = make_input_quantizer(
            a_bits, signed, in_features if per_channel else None, self.param_dtype
        )

    def __call__(self, inputs: jax.Array | QArray) -> jax.Array:
        """Convolves.

        Args:
          inputs: float array of shape ``(*batch, *spatial, in_features)``, or a QArray if
            ``a_bits`` is None. Any number of batch axes.

        Returns:
          Float array of shape ``(*batch, *spatial, out_features)``.

        Raises:
          TypeError: for a QArray where the layer has a quantizer of its own.
          ValueError: for a wrong number of axes or channels.
        """
        shape, rank = inputs.shape, len(self.kernel_size)
        if len(shape) < rank + 1 or shape[-1] != self.in_features:
            raise ValueError(
                f"inputs must have {rank} spatial axes and {self.in_features} channels last, "
                f"got shape {shape}."
            )
        x, dtype = quantize_inputs(self, inputs)
        x = map_codes(lambda codes: codes.reshape(-1, *shape[-rank - 1 :]), x)

        kernel = self.kernel[...]
        if self.transpose_kernel:
            kernel = jnp.flip(kernel, range(rank)).swapaxes(-1, -2)
        strides = _per_axis(self.strides, rank)
        dilation = _per_axis(self.kernel_dilation, rank)
        y = quantized_conv(
            x,
            quantize_weight(kernel, self.w_bits),
            strides=(1,) * rank,
            padding=_padding(self.padding, self.kernel_size, strides, dilation),
            input_dilation=strides,
            kernel_dilation=dilation,
            operands=self.operands,
            precision=self.precision,
        )
        y = add_bias(self, y.astype(dtype))
        return y.reshape(*shape[: len(shape) - rank - 1], *y.shape[1:])


def _per_axis(value: int | Sequence[int] | None, rank: int) -> tuple[int, ...]:
    if value is None or isinstance(value, int):
        return (value or 1,) * rank
    return tuple(value)


def _padding(padding, kernel_size, strides, dilation) -> list[tuple[int, int]]:
    """Returns the padding of the dilated input, as ``jax.lax.conv_transpose`` defines it."""
    if not isinstance(padding, str):
        padding = [padding] * len(kernel_size) if isinstance(padding, int) else padding
        return [(p, p) if isinstance(p, int) else tuple(p) for p in padding]
    if padding not in ("SAME", "VALID"):
        raise ValueError(f"padding must be 'SAME', 'VALID' or numbers, got {padding!r}.")
    result = []
    for size, stride, step in zip(kernel_size, strides, dilation, strict=True):
        extent = (size - 1) * step + 1
        if padding == "VALID":
            result.append((extent - 1, stride - 1 + max(extent - stride, 0)))
        else:
            total = extent + stride - 2
            before = extent - 1 if stride > extent - 1 else math.ceil(total / 2)
            result.append((before, total - before))
    return result
