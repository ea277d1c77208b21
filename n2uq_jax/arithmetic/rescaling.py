"""Multiplication of integers by real factors, as a multiplication, an addition and a shift."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from n2uq_jax.quantizers.qarray import align

LARGEST_SUM = 2**31 - 1
"""No intermediate result of :func:`rescale` is larger in magnitude."""

_KEPT_BITS = 22
"""Integers of more bits lose their last ones, so that multipliers keep at least 8."""

_MULTIPLIER_BITS = 24
"""Multipliers have no more bits than a float32, from which they are rounded."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rescaling:
    r"""An affine map of integers to integers, per channel: :math:`(M v' + B) \gg S`.

    Here :math:`v' = v \gg D`, which is ``v`` itself but for sums beyond 22 bits.

    Args:
      multiplier: :math:`M`, int32, shape ``()`` or ``(channels,)``.
      offset: :math:`B`, int32, the same shape; half of :math:`2^S` is in it, for rounding.
      shift: :math:`S`, int32 from 0 to 29, the same shape.
      largest: the largest magnitude that :math:`v` may have; a static field.
    """

    multiplier: jax.Array
    offset: jax.Array
    shift: jax.Array
    largest: int = dataclasses.field(metadata={"static": True})

    @property
    def dropped_bits(self) -> int:
        """Number of last bits, :math:`D`, that integers lose first."""
        return max(0, self.largest.bit_length() - _KEPT_BITS)


def make_rescaling(gain: jax.Array, bias: jax.Array, largest: int) -> Rescaling:
    r"""Rounds an affine map of reals to one of integers that cannot overflow.

    :math:`v \mapsto g v + b` becomes :math:`M = \operatorname{round}(g 2^S)` and
    :math:`B = \operatorname{round}(b 2^S) + 2^{S-1}`, with the largest :math:`S` for which
    :math:`|M v| \le 2^{30}` for all :math:`|v| \le` ``largest`` and
    :math:`|B| < 2^{30}`. So the sum stays below :math:`2^{31}`, whatever the parameters are: a gain
    that is too large for that is bounded. The result is within
    :math:`\tfrac12 + (|v| + 1) 2^{-S-1}` of the real one.

    The constants are a function of parameters alone, computed in float32 between optimization
    barriers, so that an exporter finds them as constants and every program has the same.

    Args:
      gain: :math:`g`, float, shape ``()`` or ``(channels,)``.
      bias: :math:`b`, float, the same shape.
      largest: bound of the integers' magnitude, known from the shapes of what made them.

    Returns:
      The map.

    Raises:
      ValueError: if ``largest`` is not from 1 to :data:`LARGEST_SUM`.
    """
    if not 1 <= largest <= LARGEST_SUM:
        raise ValueError(
            f"largest must be from 1 to {LARGEST_SUM}, so that integers fit in 32 bits; "
            f"got {largest}."
        )
    drop = max(0, largest.bit_length() - _KEPT_BITS)
    bits = min(_MULTIPLIER_BITS, (2**30 // max(1, -(-largest >> drop))).bit_length() - 1)
    gain, bias = lax.optimization_barrier((gain.astype(jnp.float32), bias.astype(jnp.float32)))
    gain = gain * np.float32(2.0**drop)
    shift = jnp.clip(jnp.minimum(bits - _exponent(gain), 29 - _exponent(bias)), 0, 29)
    unit = _power_of_two(shift)
    multiplier = _to_integer(gain * unit, 2**bits)
    offset = _to_integer(bias * unit, 2**29) + ((1 << shift) >> 1)
    if drop:
        offset += multiplier >> 1  # half of what the lost bits are worth
    constants = lax.optimization_barrier((multiplier, offset, shift))
    names = ("multiplier", "offset", "shift")  # by which an exported program knows them
    multiplier, offset, shift = map(checkpoint_name, constants, names)
    return Rescaling(multiplier, offset, shift, largest)


def rescale(values: jax.Array, rescaling: Rescaling) -> jax.Array:
    r"""Applies a map of integers, in 32 bits: :math:`(M v' + B) \gg S`, rounding half up.

    Args:
      values: int32, shape ``(..., channels)``, of magnitude at most ``rescaling.largest``.
      rescaling: the map.

    Returns:
      int32 of the same shape.

    Raises:
      TypeError: if ``values`` are not int32.
    """
    if values.dtype != jnp.int32:
        raise TypeError(f"values must be int32, got {values.dtype}.")
    multiplier, offset, shift = (
        align(constant, values.ndim)
        for constant in (rescaling.multiplier, rescaling.offset, rescaling.shift)
    )
    if rescaling.dropped_bits:
        values = lax.shift_right_arithmetic(values, np.int32(rescaling.dropped_bits))
    return lax.shift_right_arithmetic(
        values * multiplier + offset, jnp.broadcast_to(shift, values.shape)
    )


def round_half_up(x: jax.Array) -> jax.Array:
    """Rounds as :func:`rescale` does: halves go up."""
    return jnp.floor(x + 0.5)


def to_int32(x: jax.Array, largest: int) -> jax.Array:
    """Rounds a float parameter to an int32 constant of bounded magnitude, between barriers.

    Args:
      x: float array.
      largest: bound of the result's magnitude, at most ``2**30``.

    Returns:
      int32 of the same shape.
    """
    x = lax.optimization_barrier(x.astype(jnp.float32))
    return lax.optimization_barrier(_to_integer(x, largest))


def _to_integer(x: jax.Array, largest: int) -> jax.Array:
    return jnp.clip(round_half_up(x), -largest, largest).astype(jnp.int32)


def _exponent(x: jax.Array) -> jax.Array:
    """Returns the int32 ``e`` with ``2**(e - 1) <= |x| < 2**e``, and 0 for 0."""
    return jnp.frexp(x)[1].astype(jnp.int32)


def _power_of_two(exponent: jax.Array) -> jax.Array:
    """Returns 2**exponent exactly, which exp2 need not, from the bits of a float32."""
    return lax.bitcast_convert_type((exponent + 127) << 23, jnp.float32)
