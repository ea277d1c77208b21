"""A convolution with quantized weights and inputs."""

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


class QuantConv(nnx.Conv):
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
      operands: the type codes are multiplied in, ``"float32"``, ``"bfloat16"`` or ``"int8"``; None
        for the computation's dtype where that is exact and int32 elsewhere. It changes speed only.
      rngs: the key stream ``params``.
      **kwargs: ``nnx.Conv``'s other arguments: padding, input_dilation, kernel_dilation,
        feature_group_count, use_bias, mask, dtype, param_dtype, precision, kernel_init, bias_init,
        kernel_metadata, bias_metadata. Zero padding is the code 0. A mask of zeros and ones
        multiplies the codes; the scale is that of the whole kernel.

    Reference:
      Liu et al., "Nonuniform-to-Uniform Quantization", CVPR 2022.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] | None = 1,
        *,
        w_bits: int,
        a_bits: int | None,
        signed: bool = False,
        per_channel: bool = False,
        operands: Operands | None = None,
        rngs: nnx.Rngs,
        **kwargs,
    ):
        reject_replaced_arithmetic(kwargs, "conv_general_dilated")
        groups = kwargs.get("feature_group_count", 1)
        if groups < 1 or in_features % groups or out_features % groups:
            raise ValueError(
                "feature_group_count must be at least 1 and divide in_features and out_features, "
                f"got {groups} for {in_features} and {out_features}."
            )
        super().__init__(in_features, out_features, kernel_size, strides, rngs=rngs, **kwargs)
        if self.mask is not None and self.mask.shape != self.kernel_shape:
            raise ValueError(
                f"mask must have the kernel's shape {self.kernel_shape}, got {self.mask.shape}."
            )
        self.w_bits = check_bits("w_bits", w_bits)
        self.a_bits = a_bits
        self.operands = operands
        self.input_quantizer = make_input_quantizer(
            a_bits, signed, in_features if per_channel else None, self.param_dtype
        )

    def __call__(self, inputs: jax.Array | QArray) -> jax.Array:  # type: ignore[override]
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

        dilation = _per_axis(self.kernel_dilation, rank)
        mode, padding = _padding(self.padding, self.kernel_size, dilation)
        if mode is not None:
            pairs = [(0, 0), *padding, (0, 0)]
            x = map_codes(lambda codes: jnp.pad(codes, pairs, mode=mode), x)
            padding = "VALID"

        w = quantize_weight(self.kernel[...], self.w_bits)
        if self.mask is not None:
            mask = jnp.asarray(self.mask, w.codes.dtype)
            w = map_codes(lambda codes: codes * mask, w)
        y = quantized_conv(
            x,
            w,
            strides=_per_axis(self.strides, rank),
            padding=padding,
            input_dilation=_per_axis(self.input_dilation, rank),
            kernel_dilation=dilation,
            groups=self.feature_group_count,
            operands=self.operands,
            precision=self.precision,
        )
        y = add_bias(self, y.astype(dtype))
        return y.reshape(*shape[: len(shape) - rank - 1], *y.shape[1:])


def _per_axis(value: int | Sequence[int] | None, rank: int) -> tuple[int, ...]:
    if value is None or isinstance(value, int):
        return (value or 1,) * rank
    return tuple(value)


def _padding(padding, kernel_size, dilation):
    """Returns a mode of ``jnp.pad`` or None, and padding as ``jax.lax`` takes it."""
    rank = len(kernel_size)
    if isinstance(padding, int):
        return None, [(padding, padding)] * rank
    if not isinstance(padding, str):
        if len(padding) != rank:
            raise ValueError(
                f"padding must have {rank} entries, one a spatial axis; got {padding}."
            )
        return None, [(p, p) if isinstance(p, int) else tuple(p) for p in padding]
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
