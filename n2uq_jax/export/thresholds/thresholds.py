"""Integer thresholds: codes as counts of comparisons with an integer."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("points", "steps", "base"),
    meta_fields=("max_code",),
)
@dataclasses.dataclass(frozen=True)
class Thresholds:
    r"""Codes as an exact function of an integer, per channel; a pytree of its three arrays.

    .. math:: k_c(v) = \text{base}_c + \sum_j \text{steps}_{c,j} \cdot [v > \text{points}_{c,j}]

    A monotone channel has as many points as the quantizer has thresholds, all with the same step:
    +1 from base 0, or -1 from the largest code where the channel decreases. A channel whose codes
    go both ways has steps of both signs. Unused points have step 0.

    Args:
      points: int32, shape ``(channels, points)``, ascending.
      steps: int16, same shape.
      base: int16, shape ``(channels,)``.
      max_code: the largest code.
    """

    points: np.ndarray
    steps: np.ndarray
    base: np.ndarray
    max_code: int

    def __call__(self, integers: jax.Array) -> jax.Array:
        """Counts thresholds below integers.

        Args:
          integers: int32, shape ``(..., channels)``.

        Returns:
          Codes, int32, shape of ``integers``.
        """
        ones = (1,) * (integers.ndim - 1)
        base, points, steps = (
            jnp.asarray(array).astype(jnp.int32) for array in (self.base, self.points, self.steps)
        )
        codes = jnp.broadcast_to(base.reshape(*ones, -1), integers.shape)
        # Unrolled, so that a compiler fuses the comparisons into one pass over the integers.
        for j in range(points.shape[1]):
            above = integers > points[:, j].reshape(*ones, -1)
            codes += jnp.where(above, steps[:, j].reshape(*ones, -1), 0)
        return codes

    @property
    def is_monotone(self) -> bool:
        """Whether all steps of each channel are +1, or all are -1."""
        steps = np.asarray(self.steps)
        return bool((steps == steps[:, :1]).all() and (np.abs(steps) == 1).all())

    def kinds(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Returns a word for each channel.

        Args:
          low: the smallest integer, shape ``(channels,)``.
          high: the largest integer, shape ``(channels,)``.

        Returns:
          Strings ``"increasing"``, ``"decreasing"``, ``"constant"``, ``"not monotone"``.
        """
        inside = (self.points >= low[:, None]) & (self.points < high[:, None])
        rises = (inside & (self.steps > 0)).any(axis=1)
        falls = (inside & (self.steps < 0)).any(axis=1)
        names = np.array(["constant", "increasing", "decreasing", "not monotone"])
        return names[np.where(rises, 1, 0) + np.where(falls, 2, 0)]


def from_changes(
    first: np.ndarray,
    changes: list[tuple[np.ndarray, np.ndarray]],
    max_code: int,
    low: np.ndarray,
    high: np.ndarray,
) -> Thresholds:
    """Builds thresholds from the places where the codes change.

    Args:
      first: code at ``low``, shape ``(channels,)``.
      changes: for each channel the accumulators in front of a change, ascending, and the changes.
      max_code: the largest code.
      low: smallest accumulator, shape ``(channels,)``.
      high: largest accumulator, shape ``(channels,)``.

    Returns:
      Thresholds; a monotone channel gets one point a level, those beyond the codes that occur at
      the ends of the range.
    """
    rows = [
        _row(int(k), points, steps, max_code, int(lo), int(hi))
        for k, (points, steps), lo, hi in zip(first, changes, low, high, strict=True)
    ]
    width = max(len(points) for _, points, _ in rows)
    shape = (len(rows), width)
    points = np.broadcast_to(high[:, None], shape).astype(np.int32)
    steps = np.zeros(shape, np.int16)
    for c, (_, row_points, row_steps) in enumerate(rows):
        points[c, : len(row_points)] = row_points
        steps[c, : len(row_steps)] = row_steps
    base = np.array([base for base, _, _ in rows], np.int16)
    return Thresholds(points, steps, base, max_code)


def _row(first, points, steps, max_code, low, high):
    points, steps = np.asarray(points, np.int64), np.asarray(steps, np.int64)
    if len(steps) and steps.min() < 0 < steps.max():
        return first, points, steps
    sign = -1 if len(steps) and steps.min() < 0 else 1
    base = max_code if sign < 0 else 0
    # Codes that are passed at one accumulator get a point each; the others lie outside the range.
    before = np.full(abs(first - base), low - 1)
    inside = np.repeat(points, np.abs(steps))
    after = np.full(max_code - len(before) - len(inside), high)
    row = np.concatenate([before, inside, after])
    return base, row, np.full(max_code, sign)
