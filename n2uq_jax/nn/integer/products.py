"""The first and the last layer of an integer-only network, with weights of 8 bits."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from n2uq_jax.arithmetic import conv_sums, matmul_sums
from n2uq_jax.arithmetic.rescaling import to_int32
from n2uq_jax.nn.integer.grid import Grid, is_integer
from n2uq_jax.quantizers import QArray
from n2uq_jax.quantizers.qarray import align
from n2uq_jax.quantizers.symmetric import quantize_symmetric

_LARGEST_BIAS = 2**29


class IntegerConv(nnx.Conv):
    """A convolution of integers with symmetric weights of 2 to 8 bits and no bias.

    As a network's first layer it takes pixels; where it stands elsewhere, as a shortcut does,
    ``input_bits`` makes it round its input to a grid of so many bits first.

    Args:
      in_features: number of input channels.
      out_features: number of output channels.
      kernel_size: window, one size a spatial axis.
      strides: one for all axes, or a sequence.
      padding: a ``(low, high)`` pair a spatial axis; the integer 0 is what it pads with.
      bits: of the weights; one scale an output channel, see
        :func:`~n2uq_jax.quantizers.quantize_symmetric`.
      input_bits: None to take codes as they are.
      rngs: the key stream ``params``.
      **kwargs: ``dtype``, ``param_dtype`` and ``kernel_init`` of ``nnx.Conv``.

    Reference:
      Jacob et al., "Quantization and Training of Neural Networks for Efficient
      Integer-Arithmetic-Only Inference", CVPR 2018.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: Sequence[int],
        strides: int | Sequence[int] = 1,
        *,
        padding: Sequence[tuple[int, int]],
        bits: int = 8,
        input_bits: int | None = None,
        rngs: nnx.Rngs,
        **kwargs,
    ):
        super().__init__(
            in_features,
            out_features,
            kernel_size,
            strides,
            padding=tuple(padding),
            use_bias=False,
            rngs=rngs,
            **kwargs,
        )
        rank = len(kernel_size)
        self.window_strides = (strides,) * rank if isinstance(strides, int) else tuple(strides)
        self.window_padding = tuple(padding)
        self.bits = bits
        self.grid = nnx.data(None) if input_bits is None else Grid(input_bits)

    def __call__(self, x: QArray) -> QArray:  # type: ignore[override]
        """Convolves.

        Args:
          x: codes ``(batch, *spatial, in)``; a scale a channel goes into the weights before they
            are rounded.

        Returns:
          Sums ``(batch, *spatial, out)`` of the same kind, int32 or float.
        """
        x = x if self.grid is None else self.grid.requantize(x)
        # Pixels have a deviation a channel, and sums must have one scale.
        kernel = self.kernel[...].astype(jnp.float32)
        scale = x.scale.reshape((1,) * (kernel.ndim - 2) + (-1, 1))
        kernel = lax.optimization_barrier(kernel * scale)
        w = quantize_symmetric(kernel, self.bits)
        codes = QArray(x.codes.astype(jnp.float32), jnp.ones((), jnp.float32), x.max_code)
        return conv_sums(
            codes,
            w,
            strides=self.window_strides,
            padding=self.window_padding,
            integer=is_integer(x),
        )


class IntegerLinear(nnx.Linear):
    r"""A linear layer of integers: codes of its input, symmetric weights, an integer bias.

    .. math:: v_c = \sum_i k_i\,w_{ic} + \operatorname{round}(b_c / (s\,\sigma)), \qquad
      y_c = s\,\sigma\,v_c

    All outputs share one scale, so that they can be compared as integers.

    Args:
      in_features: size of the input's last axis.
      out_features: size of the output's.
      bits: of the weights, 2 to 8.
      input_bits: of the grid that the input is rounded to.
      signed: False where the input is never negative.
      rngs: the key stream ``params``.
      **kwargs: passed to ``nnx.Linear``.

    Attributes:
      grid: what the input is rounded to.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bits: int = 8,
        input_bits: int = 8,
        signed: bool = True,
        rngs: nnx.Rngs,
        **kwargs,
    ):
        super().__init__(in_features, out_features, rngs=rngs, **kwargs)
        self.bits = bits
        self.grid = Grid(input_bits, signed=signed, limit=8.0)

    def __call__(self, x: QArray) -> QArray:  # type: ignore[override]
        """Multiplies.

        Args:
          x: codes ``(..., in)``, int32 or float.

        Returns:
          Integers ``(..., out)`` of the same kind, and their scale of shape ``()``.
        """
        integer = is_integer(x)
        x = self.grid.requantize(x)
        w = quantize_symmetric(self.kernel[...].astype(jnp.float32), self.bits, per_channel=False)
        codes = QArray(x.codes.astype(jnp.float32), x.scale, x.max_code)
        y = matmul_sums(codes, w, integer=integer)
        if self.bias is None:
            return y
        bias, scale = lax.optimization_barrier((self.bias[...], y.scale))
        steps = bias / scale
        integers: jax.Array = to_int32(steps, _LARGEST_BIAS)
        if not integer:
            integers = steps + lax.stop_gradient(integers.astype(steps.dtype) - steps)
        bound = None if y.max_code is None else y.max_code + _LARGEST_BIAS
        return QArray(y.codes + align(integers, y.ndim), y.scale, bound)
