"""A linear layer over several axes, as attention uses for its projections."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from n2uq_jax.arithmetic import Operands, quantized_matmul
from n2uq_jax.nn.common import (
    add_bias,
    make_input_quantizer,
    map_codes,
    quantize_inputs,
    reject_replaced_arithmetic,
)
from n2uq_jax.quantizers import QArray, quantize_weight
from n2uq_jax.quantizers.bits import check_bits


class QuantLinearGeneral(nnx.LinearGeneral):
    """``nnx.LinearGeneral`` on integer codes; it owns the quantizer of its input.

    The contracted axes are flattened, and so are the output axes: each of the
    ``prod(out_features)`` outputs has a weight scale of its own.

    Args:
      in_features: sizes of the contracted axes, an int or a sequence, in the input's order.
      out_features: sizes of the output axes, an int or a sequence.
      axis: the input's contracted axes, an int or a sequence.
      w_bits: bit width of the weights, 1 to 8.
      a_bits: bit width of the inputs, 1 to 8. None: the layer has no input quantizer and takes a
        QArray, or a float array for weight-only quantization.
      signed: the input quantizer's codes are odd integers ``-N .. N`` instead of ``0 .. N``.
      per_channel: thresholds per index of the input's last axis instead of per tensor; it must be
        one of ``axis``.
      operands: the type codes are multiplied in, ``"float32"``, ``"bfloat16"`` or ``"int8"``; None
        for the computation's dtype where that is exact and int32 elsewhere. It changes speed only.
      rngs: the key stream ``params``.
      **kwargs: ``nnx.LinearGeneral``'s other arguments: use_bias, dtype, param_dtype, precision,
        kernel_init, bias_init, kernel_metadata, bias_metadata.

    Raises:
      ValueError: for batch axes, along which the kernel would differ; or thresholds per channel
        where the last axis is not contracted.

    Reference:
      Liu et al., "Nonuniform-to-Uniform Quantization", CVPR 2022.
    """

    def __init__(
        self,
        in_features: int | Sequence[int],
        out_features: int | Sequence[int],
        *,
        axis: int | Sequence[int] = -1,
        w_bits: int,
        a_bits: int | None,
        signed: bool = False,
        per_channel: bool = False,
        operands: Operands | None = None,
        rngs: nnx.Rngs,
        **kwargs,
    ):
        for name in ("dot_general", "dot_general_cls"):
            reject_replaced_arithmetic(kwargs, name)
        if kwargs.get("batch_axis"):
            raise ValueError(f"batch_axis must be empty, got {kwargs['batch_axis']}.")
        super().__init__(in_features, out_features, axis=axis, rngs=rngs, **kwargs)
        self.w_bits = check_bits("w_bits", w_bits)
        self.a_bits = a_bits
        self.operands = operands
        if per_channel and -1 not in self.axis:
            raise ValueError(f"per_channel wants -1 in axis, got axis={self.axis}.")
        channels = self.in_features[-1] if per_channel else None
        self.input_quantizer = make_input_quantizer(a_bits, signed, channels, self.param_dtype)

    def __call__(self, inputs: jax.Array | QArray, out_sharding: None = None) -> jax.Array:
        """Multiplies.

        Args:
          inputs: float array with ``in_features`` on ``axis``, or a QArray if ``a_bits`` is None.
          out_sharding: None; here because ``nnx.MultiHeadAttention`` passes it.

        Returns:
          Float array with the axes that are not contracted, then ``out_features``.

        Raises:
          TypeError: for a QArray where the layer has a quantizer of its own.
          ValueError: for a wrong number of features, or an ``out_sharding``.
        """
        if out_sharding is not None:
            raise ValueError(f"out_sharding must be None, got {out_sharding}.")
        axes = sorted(a % inputs.ndim for a in self.axis)  # as Flax has them
        sizes = tuple(inputs.shape[a] for a in axes)
        if sizes != tuple(self.in_features):
            raise ValueError(
                f"inputs must have {tuple(self.in_features)} features on the axes "
                f"{tuple(self.axis)}, got shape {inputs.shape}."
            )
        free = [a for a in range(inputs.ndim) if a not in axes]
        shape = tuple(inputs.shape[a] for a in free)
        x, dtype = quantize_inputs(self, inputs)
        x = map_codes(lambda v: jnp.transpose(v, (*free, *axes)).reshape(*shape, -1), x)
        w = quantize_weight(self.kernel[...].reshape(math.prod(self.in_features), -1), self.w_bits)
        y = quantized_matmul(x, w, operands=self.operands, precision=self.precision)
        return add_bias(self, y.astype(dtype)).reshape(*shape, *self.out_features)
