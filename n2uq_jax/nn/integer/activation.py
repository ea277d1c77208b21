"""Sums and activations on an integer stream."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from n2uq_jax.arithmetic.rescaling import make_rescaling, rescale, to_int32
from n2uq_jax.nn.integer.grid import Grid, is_integer
from n2uq_jax.nn.rprelu import RPReLU
from n2uq_jax.quantizers import QArray
from n2uq_jax.quantizers.qarray import align


def add(a: QArray, b: QArray) -> QArray:
    """Adds values of one grid; the sum is not bounded by the grid yet.

    Args:
      a: codes.
      b: codes of the same scale, shape and kind.

    Returns:
      Their sum, whose ``max_code`` is the sum of theirs.
    """
    if a.max_code is None or b.max_code is None:
        raise ValueError("a and b must say how large their codes can be (max_code), got None.")
    return QArray(a.codes + b.codes, a.scale, a.max_code + b.max_code)


def relu(x: QArray, limit: float | None = None) -> QArray:
    r"""Replaces negative values by 0, and bounds them by ``limit``, as a ReLU6 does by 6.

    Args:
      x: codes with a scale of shape ``()``.
      limit: the largest value, rounded to the scale; None for none.

    Returns:
      Codes of the same kind.
    """
    codes = jnp.maximum(x.codes, 0)
    if limit is not None:
        steps = to_int32(limit / x.scale, 2**30)
        codes = jnp.minimum(codes, steps.astype(codes.dtype))
    return dataclasses.replace(x, codes=codes)


class IntegerRPReLU(RPReLU):
    r"""RPReLU on an integer stream: shifts in steps of the grid, the slope a multiply and a shift.

    .. math::
      u = n + b_0, \qquad n' = \operatorname{clamp}\big((u \text{ if } u \ge 0 \text{ else }
      (M_c\,u + 2^{S_c - 1}) \gg S_c) + b_1\big)

    Training computes the same in float with shifts that are rounded straight-through, so that both
    differ by the slope's rounding and one step at most.

    Args:
      features: size of the input's last axis.
      rngs: the key stream ``params``.
      **kwargs: passed to :class:`~n2uq_jax.nn.RPReLU`.
    """

    def __init__(self, features: int, *, rngs: nnx.Rngs, **kwargs):
        super().__init__(features, rngs=rngs, **kwargs)

    def __call__(self, x: QArray, grid: Grid) -> QArray:  # type: ignore[override]
        """Applies the activation.

        Args:
          x: codes in steps of the grid, such as a sum of two values on it.
          grid: what the result lies on.

        Returns:
          A QArray on the grid, of the kind of ``x``.
        """
        if x.shape[-1:] != (self.features,):
            raise ValueError(f"x must have {self.features} channels last, got shape {x.shape}.")
        if is_integer(x):
            return grid.clamp(self._integers(x, grid))

        def parameter(p: nnx.Param) -> jax.Array:
            return align(grid.parameter(p[...]), x.ndim)

        slope = align(self.slope[...].astype(x.codes.dtype), x.ndim)
        shifted = x.codes + parameter(self.bias_in)
        bent = jnp.where(shifted >= 0, shifted, slope * shifted)
        return grid.round_steps(bent + parameter(self.bias_out))

    def _integers(self, x: QArray, grid: Grid) -> jax.Array:
        assert x.max_code is not None
        first, last = (grid.integer_parameter(p[...]) for p in (self.bias_in, self.bias_out))
        slope = self.slope[...]
        bend = make_rescaling(slope, jnp.zeros_like(slope), x.max_code + grid.largest_shift)
        shifted = x.codes + align(first, x.ndim)
        bent = jnp.where(shifted >= 0, shifted, rescale(shifted, bend))
        return bent + align(last, x.ndim)
