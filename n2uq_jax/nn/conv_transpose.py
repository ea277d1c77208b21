"""A transposed convolution with quantized weights and inputs."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from n2uq_jax.arithmetic import quantized_conv
from n2uq_jax.nn.windowed import WindowedLayer, padding_pairs, per_axis
from n2uq_jax.quantizers import QArray


class QuantConvTranspose(WindowedLayer, nnx.ConvTranspose):
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
      method: how inputs and kernel are quantized, one of :data:`n2uq_jax.nn.Method`.
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

    float_class = nnx.ConvTranspose

    @classmethod
    def check_arguments(cls, arguments: dict[str, Any]) -> None:
        """Raises for sizes below 1, a mask, and circular padding."""
        super().check_arguments(arguments)
        if arguments["mask"] is not None:
            raise ValueError("mask must be None: a transposed convolution has no quantized mask.")
        if arguments["padding"] == "CIRCULAR":
            raise ValueError("padding must be 'SAME', 'VALID' or numbers, got 'CIRCULAR'.")

    @classmethod
    def unsupported(cls, layer: Any) -> str | None:
        """Says why a transposed convolution has no quantized form; None if it has."""
        if layer.padding == "CIRCULAR":
            return "its padding is circular"
        if layer.mask is not None:
            return "it has a mask"
        return super().unsupported(layer)

    def convolve(self, x: QArray | jax.Array) -> jax.Array:
        """Returns the convolution of ``x`` of shape ``(batch, *spatial, in_features)``.

        Args:
          x: codes with their scale, or floats.
        """
        rank = len(self.kernel_size)
        strides = per_axis(self.strides, rank)
        dilation = per_axis(self.kernel_dilation, rank)
        return self.multiply(
            quantized_conv,
            x,
            self.quantized_kernel(),
            strides=(1,) * rank,
            padding=_padding(self.padding, self.kernel_size, strides, dilation),
            input_dilation=strides,
            kernel_dilation=dilation,
        )

    def quantized_kernel(self) -> QArray:
        """Returns the kernel as the convolution takes it, turned round if it is transposed."""
        kernel = self.kernel[...]
        if self.transpose_kernel:
            kernel = jnp.flip(kernel, range(len(self.kernel_size))).swapaxes(-1, -2)
        return self.quantize_kernel(kernel)


def _padding(padding, kernel_size, strides, dilation) -> list[tuple[int, int]]:
    """Returns the padding of the dilated input, as ``jax.lax.conv_transpose`` defines it."""
    if not isinstance(padding, str):
        return padding_pairs(padding, len(kernel_size))
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
