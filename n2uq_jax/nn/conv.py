"""A convolution with quantized weights and inputs."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from n2uq_jax.arithmetic import conv_sums, quantized_conv
from n2uq_jax.nn.quantized import map_codes
from n2uq_jax.nn.windowed import WindowedLayer, padding_pairs, per_axis
from n2uq_jax.quantizers import QArray


class QuantConv(WindowedLayer, nnx.Conv):  # type: ignore[misc]
    """``nnx.Conv`` on integer codes; it owns the quantizer of its input.

    The kernel stays a float parameter and is quantized in every call; the convolution multiplies
    codes, exactly, and scales the sums once. In bfloat16 the codes and sums are still exact: only
    the scaled output is rounded.

    Args:
      in_features: number of input channels.
      out_features: number of output channels.
      kernel_size: window, an int for one spatial axis or a sequence for one to three.
      strides: as in ``nnx.Conv``.
      w_bits: bit width of the weights, 1 to 8.
      a_bits: bit width of the inputs, 1 to 8. None: the layer has no input quantizer and takes a
        QArray, or a float array for weight-only quantization.
      signed: the input quantizer's codes are odd integers ``-N .. N`` instead of ``0 .. N``.
      per_channel: thresholds per input channel instead of per tensor.
      method: how inputs and kernel are quantized, one of :data:`n2uq_jax.nn.Method`.
      operands: the type codes are multiplied in, ``"float32"``, ``"bfloat16"`` or ``"int8"``; None
        for the computation's dtype where that is exact and int32 elsewhere. It changes speed only.
      rngs: the key stream ``params``.
      **kwargs: ``nnx.Conv``'s other arguments: padding, input_dilation, kernel_dilation,
        feature_group_count, use_bias, mask, dtype, param_dtype, precision, kernel_init, bias_init,
        kernel_metadata, bias_metadata. Zero padding is the code 0. A mask of zeros and ones
        multiplies the codes; the scale is that of the whole kernel.

    Raises:
      TypeError: if an argument is of a wrong type, unknown, or would replace the arithmetic.
      ValueError: if one has a wrong value, or groups do not divide the features.

    Reference:
      Liu et al., "Nonuniform-to-Uniform Quantization", CVPR 2022.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import n2uq_jax as n2uq
      >>> conv = n2uq.nn.QuantConv(8, 16, (3, 3), 2, w_bits=2, a_bits=2, rngs=nnx.Rngs(0))
      >>> images = jnp.ones((4, 32, 32, 8))
      >>> conv(images).shape
      (4, 16, 16, 16)
      >>> conv.input_quantizer(images).max_code
      3
    """

    float_class = nnx.Conv

    @classmethod
    def check_arguments(cls, arguments: dict[str, Any]) -> None:
        """Raises for sizes below 1, groups that do not divide, and a mask of another shape."""
        super().check_arguments(arguments)
        inputs, outputs = arguments["in_features"], arguments["out_features"]
        groups, mask = arguments["feature_group_count"], arguments["mask"]
        if groups < 1 or inputs % groups or outputs % groups:
            raise ValueError(
                "feature_group_count must be at least 1 and divide in_features and out_features, "
                f"got {groups} for {inputs} and {outputs}."
            )
        size = arguments["kernel_size"]
        window = (size,) if isinstance(size, int) else tuple(size)
        shape = (*window, inputs // groups, outputs)
        if mask is not None and mask.shape != shape:
            raise ValueError(f"mask must have the kernel's shape {shape}, got {mask.shape}.")

    def sums(self, inputs: jax.Array | QArray, *, integer: bool = False) -> QArray:
        """Convolves, and leaves the sums of products of codes as they are.

        Args:
          inputs: as for a call, with one batch axis.
          integer: sums in int32, which have no gradient, instead of float32 or wider.

        Returns:
          A QArray of the sums and their scale, without the bias; ``max_code`` bounds the sums.

        Raises:
          TypeError: for a QArray where the layer has a quantizer of its own.
          ValueError: for a wrong number of axes or channels.
        """
        x, _ = self.quantize_inputs(inputs)
        return self.convolve(x, functools.partial(conv_sums, integer=integer))

    def convolve(self, x: Any, product: Callable[..., Any] = quantized_conv) -> Any:
        """Returns the convolution of ``x`` of shape ``(batch, *spatial, in_features)``.

        Args:
          x: codes with their scale, or floats.
          product: computes the convolution of codes.
        """
        rank = len(self.kernel_size)
        dilation = per_axis(self.kernel_dilation, rank)
        mode, padding = _padding(self.padding, self.kernel_size, dilation)
        if mode is not None:
            pairs = [(0, 0), *padding, (0, 0)]
            x = map_codes(lambda codes: jnp.pad(codes, pairs, mode=mode), x)
            padding = "VALID"

        return self.multiply(
            product,
            x,
            self.quantized_kernel(),
            strides=per_axis(self.strides, rank),
            padding=padding,
            input_dilation=per_axis(self.input_dilation, rank),
            kernel_dilation=dilation,
            groups=self.feature_group_count,
        )

    def quantized_kernel(self) -> QArray:
        """Returns the kernel as the convolution takes it, masked."""
        w = super().quantized_kernel()
        if self.mask is None:
            return w
        mask = jnp.asarray(self.mask, w.codes.dtype)
        return map_codes(lambda codes: codes * mask, w)


def _padding(padding, kernel_size, dilation):
    """Returns a mode of ``jnp.pad`` or None, and padding as ``jax.lax`` takes it."""
    rank = len(kernel_size)
    if not isinstance(padding, str):
        return None, padding_pairs(padding, rank)
    extent = [(k - 1) * d for k, d in zip(kernel_size, dilation, strict=True)]
    if padding in ("SAME", "VALID"):
        return None, padding
    if padding in ("CIRCULAR", "REFLECT"):
        mode = {"CIRCULAR": "wrap", "REFLECT": "reflect"}[padding]
        return mode, [(e // 2, (e + 1) // 2) for e in extent]
    if padding == "CAUSAL" and rank == 1:
        return None, [(extent[0], 0)]
    raise ValueError(
        "padding must be 'SAME', 'VALID', 'CIRCULAR', 'REFLECT', 'CAUSAL' (one spatial axis), an "
        f"int or a sequence of ints or pairs; got {padding!r}."
    )
