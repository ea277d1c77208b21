"""Flax layers over the activation quantizers."""

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer
from jax import lax

from n2uq_jax.quantizers import QArray, quantize_activation, quantize_pact
from n2uq_jax.quantizers.bits import check_bits


class ActivationQuantizer(nnx.Module):
    r"""Learned thresholds: a float array in, integer codes with one scale out.

    With the initial values the thresholds are those of the uniform quantizer of
    :math:`[0, 2]`, or of :math:`[-1, 1]` if signed. See
    :func:`n2uq_jax.quantizers.quantize_activation` for the formula and its gradient.

    Args:
      bits: 1 to 8; ``N = 2**bits - 1`` thresholds.
      signed: codes are the odd integers ``-N .. N`` instead of ``0 .. N``, for inputs that do not
        come out of a ReLU. None is False until :func:`n2uq_jax.calibrate` chooses.
      channels: None for one set of thresholds a tensor, else the size of the input's last axis,
        for one set a channel.
      learn_thresholds: False gives ``start`` and ``intervals`` no gradient, for ablations: the
        thresholds stay where they are but for ``in_scale``.
      param_dtype: dtype of the four parameters.
      start_init: initializer of ``start``, shape ``()`` or ``(channels,)``; default 0, or -1 if
        signed.
      intervals_init: of ``intervals``, shape ``(N,)`` or ``(N, channels)``; default ``2 / N``.
      in_scale_init: of ``in_scale``, shape ``()`` or ``(channels,)``; default 1.
      out_scale_init: of ``out_scale``, shape ``()``; default 1.
      rngs: the key stream ``params`` is used if given; the default initializers need none.

    Reference:
      Liu et al., "Nonuniform-to-Uniform Quantization", CVPR 2022.
    """

    def __init__(
        self,
        bits: int,
        *,
        signed: bool | None = False,
        channels: int | None = None,
        learn_thresholds: bool = True,
        param_dtype: Dtype = jnp.float32,
        start_init: Initializer | None = None,
        intervals_init: Initializer | None = None,
        in_scale_init: Initializer = nnx.initializers.ones_init(),
        out_scale_init: Initializer = nnx.initializers.ones_init(),
        rngs: nnx.Rngs | None = None,
    ):
        bits = check_bits("bits", bits)
        num_thresholds = 2**bits - 1
        if channels is not None and channels < 1:
            raise ValueError(f"channels must be None or at least 1, got {channels}.")
        constant = nnx.initializers.constant
        start_init = start_init or constant(-1.0 if signed else 0.0)
        intervals_init = intervals_init or constant(2 / num_thresholds)
        shape = () if channels is None else (channels,)

        def param(init: Initializer, shape: tuple[int, ...]) -> nnx.Param:
            key = rngs.params() if rngs is not None else jax.random.key(0)
            return nnx.Param(init(key, shape, param_dtype))

        self.start = param(start_init, shape)
        self.intervals = param(intervals_init, (num_thresholds, *shape))
        self.in_scale = param(in_scale_init, shape)
        self.out_scale = param(out_scale_init, ())
        self.bits = bits
        self.signed = signed
        self.channels = channels
        self.learn_thresholds = learn_thresholds

    def __call__(self, x: jax.Array) -> QArray:
        """Quantizes ``x``.

        Args:
          x: float array, shape ``(..., channels)``.

        Returns:
          A QArray; its codes have the shape and dtype of ``x``.
        """
        if hasattr(self, "__captures__"):  # elsewhere sow would keep x in the module
            self.sow(nnx.Intermediate, "inputs", x)  # read by n2uq_jax.nn.quantizer_inputs
        start, intervals = self.start[...], self.intervals[...]
        if not self.learn_thresholds:
            start, intervals = lax.stop_gradient((start, intervals))
        return quantize_activation(
            x,
            start,
            intervals,
            self.in_scale[...],
            self.out_scale[...],
            signed=bool(self.signed),
        )


class PACT(nnx.Module):
    """A ReLU with a learned clip and uniform levels.

    See :func:`n2uq_jax.quantizers.quantize_pact` for the formula and its gradient.

    Args:
      bits: 1 to 8.
      clip_init: initializer of ``clip``, shape ``()``; default 2.
      detach_scale: take the gradient of PACT's paper for ``clip``, not that of N2UQ's authors.
      param_dtype: dtype of ``clip``.
      rngs: the key stream ``params`` is used if given.
    """

    def __init__(
        self,
        bits: int,
        *,
        clip_init: Initializer = nnx.initializers.constant(2.0),
        detach_scale: bool = False,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs | None = None,
    ):
        key = rngs.params() if rngs is not None else jax.random.key(0)
        self.bits = check_bits("bits", bits)
        self.detach_scale = detach_scale
        self.clip = nnx.Param(clip_init(key, (), param_dtype))

    def __call__(self, x: jax.Array) -> QArray:
        """Quantizes the float array ``x`` of any shape."""
        return quantize_pact(x, self.clip[...], self.bits, detach_scale=self.detach_scale)
