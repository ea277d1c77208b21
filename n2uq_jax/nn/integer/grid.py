"""The grid that integers on a residual stream lie on."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from n2uq_jax.arithmetic.rescaling import (
    Rescaling,
    make_rescaling,
    rescale,
    round_half_up,
    to_int32,
)
from n2uq_jax.isolation import boundary
from n2uq_jax.quantizers import QArray


class GridStep(nnx.Variable):
    """The step of a grid: saved with the parameters, set from data, not trained."""


class Grid(nnx.Module):
    r"""Integers :math:`n` of ``bits`` bits that stand for the values :math:`\delta n`.

    .. math:: n = \operatorname{clip}(\lfloor x / \delta + \tfrac12 \rfloor, l, L)

    with :math:`L = 2^{b-1} - 1` and :math:`l = -L`, or :math:`L = 2^b - 1` and :math:`l = 0` if
    not signed. All values that are added lie on one grid, so their sum is that of the integers.

    The step is no parameter: with 16 bits there is nothing to learn, and a step that moves would
    move every threshold behind it. :func:`~n2uq_jax.nn.integer.set_grids` sets it from data; until
    then it covers ``[-32, 32]``, which batch normalization and some residual sums fill.

    Args:
      bits: 2 to 16.
      signed: False for values that are never negative.
      limit: the largest value, until the step is set from data.

    Attributes:
      step: :math:`\delta`, float32, shape ``()``.
      observing: True while ranges are measured; then nothing is rounded.
    """

    def __init__(self, bits: int, *, signed: bool = True, limit: float = 32.0):
        if isinstance(bits, bool) or not isinstance(bits, int) or not 2 <= bits <= 16:
            raise ValueError(f"bits of a grid must be an int from 2 to 16, got {bits!r}.")
        self.bits = bits
        self.signed = signed
        self.step = GridStep(jnp.asarray(limit / self.largest, jnp.float32))
        self.observing = False

    @property
    def largest(self) -> int:
        """The largest integer, :math:`L`."""
        return 2 ** (self.bits - 1) - 1 if self.signed else 2**self.bits - 1

    @property
    def smallest(self) -> int:
        """The smallest integer, :math:`l`."""
        return -self.largest if self.signed else 0

    @property
    def largest_shift(self) -> int:
        """Bound of what is added to integers: twice the grid, which moves any of them out of it."""
        return 2 * self.largest

    @property
    def scale(self) -> jax.Array:
        """The step, without a gradient."""
        return lax.stop_gradient(self.step[...])

    def round(self, values: jax.Array) -> QArray:
        """Rounds real values to the grid, for training; see :meth:`round_steps`.

        Args:
          values: float array.

        Returns:
          A QArray of integers in float32, or wider.
        """
        dtype = jnp.promote_types(values.dtype, jnp.float32)
        return self.round_steps(values.astype(dtype) / self.scale.astype(dtype))

    def round_steps(self, steps: jax.Array) -> QArray:
        """Rounds values that are given in steps of the grid, for training.

        Differentiation: 1 inside of the grid's range, 0 outside.

        Args:
          steps: float32 or wider.

        Returns:
          A QArray of integers in the dtype of ``steps``.
        """
        if self.observing:
            self.sow(nnx.Intermediate, "magnitude", jnp.abs(steps).max() * self.scale)
            return QArray(steps, self.scale, self.largest)
        inside = jnp.clip(steps, self.smallest, self.largest)
        codes = inside + lax.stop_gradient(round_half_up(inside) - inside)
        return QArray(codes, self.scale, self.largest)

    def parameter(self, values: jax.Array) -> jax.Array:
        """Returns a parameter in steps, rounded straight-through, for training.

        Args:
          values: floats, in the unit of the network.
        """
        steps = values.astype(jnp.float32) / self.scale
        if self.observing:
            return steps
        inside = jnp.clip(steps, -self.largest_shift, self.largest_shift)
        return inside + lax.stop_gradient(round_half_up(inside) - inside)

    def integer_parameter(self, values: jax.Array) -> jax.Array:
        """Returns a parameter in steps as an int32 constant, for evaluation.

        Args:
          values: floats, in the unit of the network.
        """
        values, step = lax.optimization_barrier((values, self.scale))
        return to_int32(values / step, self.largest_shift)

    def clamp(self, integers: jax.Array) -> QArray:
        """Bounds integers, for evaluation.

        Args:
          integers: int32, in steps of the grid.

        Returns:
          A QArray of int32 codes, isolated: several layers read a stream.
        """
        codes = clamp(integers, self.smallest, self.largest)
        return QArray(boundary(codes), self.scale, self.largest)

    def fit(self, steps: jax.Array) -> QArray:
        """Brings integers, or floats in steps, into the grid's range: one of the two above.

        Args:
          steps: integers, or floats in steps.

        Returns:
          Integers on the grid, as codes with the grid's scale.
        """
        integer = jnp.issubdtype(steps.dtype, jnp.integer)
        return self.clamp(steps) if integer else self.round_steps(steps)

    def rescaling(self, x: QArray, gain: jax.Array, bias: jax.Array) -> Rescaling:
        r"""Returns the integer map from codes of another scale, :math:`g (s\,k) + b`, to this grid.

        Args:
          x: codes, of which scale and bound count.
          gain: :math:`g`, shape ``()`` or ``(channels,)``.
          bias: :math:`b`, the same shape.

        Returns:
          The map, which cannot overflow for codes within the bound.

        Raises:
          ValueError: if ``x`` has no bound, or one beyond 32 bits.
        """
        if x.max_code is None:
            raise ValueError("x must say how large its codes can be (max_code), got None.")
        gain, scale, bias, step = lax.optimization_barrier((gain, x.scale, bias, self.scale))
        return make_rescaling(gain * (scale / step), bias / step, x.max_code)

    def requantize(self, x: QArray) -> QArray:
        """Moves codes of another scale to this grid.

        Args:
          x: int32 codes, for evaluation; or float ones, for training.

        Returns:
          A QArray of the same kind.
        """
        if not is_integer(x):
            return self.round(x.dequantize())
        shape = x.scale.shape
        rescaling = self.rescaling(x, jnp.ones(shape, jnp.float32), jnp.zeros(shape, jnp.float32))
        return self.clamp(rescale(x.codes, rescaling))


def clamp(integers: jax.Array, low: int, high: int) -> jax.Array:
    """Bounds int32 integers by two constants."""
    return lax.clamp(jnp.int32(low), integers, jnp.int32(high))


def is_integer(x: QArray) -> bool:
    """Whether codes are held as integers, as in evaluation, and not as floats."""
    return jnp.issubdtype(x.codes.dtype, jnp.integer)
