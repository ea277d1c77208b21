"""A linear layer with quantized weights and inputs."""

from typing import Any

import jax
from flax import nnx

from n2uq_jax.arithmetic import quantized_matmul
from n2uq_jax.nn.quantized import QuantizedLayer
from n2uq_jax.quantizers import QArray


class QuantLinear(QuantizedLayer, nnx.Linear):
    """``nnx.Linear`` on integer codes; it owns the quantizer of its input.

    Args:
      in_features: size of the input's last axis.
      out_features: size of the output's last axis.
      w_bits: bit width of the weights, 1 to 8.
      a_bits: bit width of the inputs, 1 to 8. None: the layer has no input quantizer and takes a
        QArray, or a float array for weight-only quantization.
      signed: the input quantizer's codes are odd integers ``-N .. N`` instead of ``0 .. N``.
      per_channel: thresholds per input feature instead of per tensor.
      method: how inputs and kernel are quantized, one of :data:`n2uq_jax.nn.Method`.
      operands: the type codes are multiplied in, ``"float32"``, ``"bfloat16"`` or ``"int8"``; None
        for the computation's dtype where that is exact and int32 elsewhere. It changes speed only.
      rngs: the key stream ``params``.
      **kwargs: ``nnx.Linear``'s other arguments: use_bias, dtype, param_dtype, precision,
        kernel_init, bias_init, kernel_metadata, bias_metadata.

    Reference:
      Liu et al., "Nonuniform-to-Uniform Quantization", CVPR 2022.
    """

    float_class = nnx.Linear

    @classmethod
    def kernel_shape_of(cls, layer: Any) -> tuple[int, ...]:
        """Returns the shape that the arguments of a float layer give its kernel."""
        return layer.in_features, layer.out_features

    def __call__(self, inputs: jax.Array | QArray) -> jax.Array:  # type: ignore[override]
        """Multiplies.

        Args:
          inputs: float array of shape ``(..., in_features)``, or a QArray if ``a_bits`` is None.

        Returns:
          Float array of shape ``(..., out_features)``.

        Raises:
          TypeError: for a QArray where the layer has a quantizer of its own.
          ValueError: for a wrong number of features.
        """
        if inputs.ndim < 1 or inputs.shape[-1] != self.in_features:
            raise ValueError(
                f"inputs must have {self.in_features} features last, got shape {inputs.shape}."
            )
        x, dtype = self.quantize_inputs(inputs)
        y = self.multiply(quantized_matmul, x, self.quantized_kernel())
        return self.add_bias(y.astype(dtype))
