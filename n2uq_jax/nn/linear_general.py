"""A linear layer over several axes, as attention uses for its projections."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from n2uq_jax.arithmetic import quantized_matmul
from n2uq_jax.nn.quantized import QuantizedLayer, map_codes
from n2uq_jax.quantizers import QArray


class QuantLinearGeneral(QuantizedLayer, nnx.LinearGeneral):
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
      method: how inputs and kernel are quantized, one of :data:`n2uq_jax.nn.Method`.
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

    float_class = nnx.LinearGeneral

    @classmethod
    def check_arguments(cls, arguments: dict[str, Any]) -> None:
        """Raises for batch axes."""
        if arguments["batch_axis"]:
            raise ValueError(f"batch_axis must be empty, got {arguments['batch_axis']}.")

    @classmethod
    def unsupported(cls, layer: Any) -> str | None:
        """Says why a linear layer has no quantized form; None if it has."""
        return "it has batch axes" if layer.batch_axis else super().unsupported(layer)

    @classmethod
    def kernel_shape_of(cls, layer: Any) -> tuple[int, ...]:
        """Returns the shape that the arguments of a float layer give its kernel."""
        return (*layer.in_features, *layer.out_features)

    def input_channels(self) -> int:
        """Returns the size of the input's last axis, for thresholds per channel."""
        if -1 not in self.axis:
            raise ValueError(f"per_channel wants -1 in axis, got axis={self.axis}.")
        return self.in_features[-1]

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
        x, dtype = self.quantize_inputs(inputs)
        x = map_codes(lambda v: jnp.transpose(v, (*free, *axes)).reshape(*shape, -1), x)
        y = self.multiply(quantized_matmul, x, self.quantized_kernel())
        return self.add_bias(y.astype(dtype)).reshape(*shape, *self.out_features)

    def quantized_kernel(self) -> QArray:
        """Returns the kernel as the matrix that inputs are multiplied with."""
        matrix = self.kernel[...].reshape(math.prod(self.in_features), -1)
        return self.quantize_kernel(matrix)
