"""Flax layers over the uniform quantizers that N2UQ is compared with."""

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype

from n2uq_jax.quantizers import (
    QArray,
    lsq_step,
    quantize_dorefa,
    quantize_lsq,
    quantize_lsq_weight,
)
from n2uq_jax.quantizers.bits import check_bits
from n2uq_jax.quantizers.lsq import lsq_range


class LSQ(nnx.Module):
    """Uniform levels with a learned step, for activations.

    See :func:`n2uq_jax.quantizers.quantize_lsq` for the formula and its gradient.

    Args:
      bits: 1 to 8; 2 to 8 if signed.
      signed: codes on both sides of zero. None is False until :func:`n2uq_jax.calibrate` chooses.
      param_dtype: dtype of ``step``, which begins at :math:`2/Q_P`: levels up to 2.
    """

    def __init__(self, bits: int, *, signed: bool | None = False, param_dtype: Dtype = jnp.float32):
        _, highest = lsq_range(bits, signed=bool(signed))
        self.bits = bits
        self.signed = signed
        self.step = nnx.Param(jnp.full((), 2 / highest, param_dtype))

    def __call__(self, x: jax.Array) -> QArray:
        """Quantizes the float array ``x`` of shape ``(batch, ...)``."""
        return quantize_lsq(x, self.step[...], self.bits, signed=bool(self.signed))


class LSQWeight(nnx.Module):
    """Uniform levels with a learned step, for a kernel.

    See :func:`n2uq_jax.quantizers.quantize_lsq_weight` for the formula and its gradient.

    Args:
      bits: 2 to 8.
      param_dtype: dtype of ``step``, which begins at 1: see :meth:`start`.
    """

    def __init__(self, bits: int, *, param_dtype: Dtype = jnp.float32):
        lsq_range(bits, signed=True)
        self.bits = bits
        self.step = nnx.Param(jnp.ones((), param_dtype))

    def __call__(self, kernel: jax.Array) -> QArray:
        """Quantizes the float array ``kernel`` of any shape."""
        return quantize_lsq_weight(kernel, self.step[...], self.bits)

    def start(self, kernel: jax.Array, rank: int) -> None:
        """Gives the step the value that LSQ starts from.

        Args:
          kernel: the layer's.
          rank: number of its last axes that one step is for; in front of them stand those of an
            ``nnx.vmap`` or ``nnx.scan``.
        """
        axes = tuple(range(kernel.ndim - rank, kernel.ndim))
        step = lsq_step(kernel, self.bits, signed=True, axis=axes)
        self.step = nnx.Param(step.astype(self.step[...].dtype))


class DoReFa(nnx.Module):
    """Activations clipped to 0..1 and rounded to uniform levels; it has no parameters.

    See :func:`n2uq_jax.quantizers.quantize_dorefa` for the formula and its gradient.

    Args:
      bits: 1 to 8.
    """

    def __init__(self, bits: int):
        self.bits = check_bits("bits", bits)

    def __call__(self, x: jax.Array) -> QArray:
        """Quantizes the float array ``x`` of any shape."""
        return quantize_dorefa(x, self.bits)
