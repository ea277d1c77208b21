"""Thresholds as nodes: codes that count comparisons."""

import dataclasses

import numpy as np
from onnx import TensorProto

from n2uq_jax.export.formats.onnx.graph import OnnxGraph
from n2uq_jax.export.thresholds.thresholds import Thresholds
from n2uq_jax.export.trace.ranges import Range

_NEVER = 255
"""No byte is larger."""


@dataclasses.dataclass(frozen=True)
class Comparisons:
    r"""Codes :math:`\text{base}_c + \sum_j \text{steps}_{c,j} [v > \text{points}_{c,j}]`.

    Args:
      points: integers, shape ``(channels, points)``.
      steps: same shape.
      base: shape ``(channels,)``.
      dtype: of what is compared: int32 or uint8.
    """

    points: np.ndarray
    steps: np.ndarray
    base: np.ndarray
    dtype: type = np.int32

    @classmethod
    def of(cls, thresholds: Thresholds) -> "Comparisons":
        """Reads the thresholds of a quantizer."""
        points, steps, base = (
            np.asarray(array).astype(np.int64)
            for array in (thresholds.points, thresholds.steps, thresholds.base)
        )
        return cls(points, steps, base)

    @property
    def signs(self) -> np.ndarray:
        """For each channel -1 if its codes fall alone, else 1."""
        return np.where((self.steps < 0).all(1), -1, 1)

    def of_negated(self, signs: np.ndarray) -> "Comparisons":
        """Returns the comparisons for channels that are multiplied by 1 or -1.

        Args:
          signs: shape ``(channels,)``.
        """
        # -v > -p - 1 is v <= p: every step is taken away where v > p does not hold.
        falls = (signs < 0)[:, None]
        points = np.where(falls, -self.points - 1, self.points)
        steps = np.where(falls, -self.steps, self.steps)
        base = self.base + np.where(falls, self.steps, 0).sum(1)
        return dataclasses.replace(self, points=points, steps=steps, base=base)

    def of_moved(self, rest: np.ndarray) -> "Comparisons":
        """Returns the comparisons for numbers that lack a number a channel.

        Args:
          rest: what they lack, shape ``(channels,)``.
        """
        return dataclasses.replace(self, points=self.points - rest[:, None])

    def in_a_byte(self, sums: Range) -> tuple[np.ndarray, "Comparisons"] | None:
        """Moves sums so that bytes decide the comparisons.

        Args:
          sums: between which they lie, per channel.

        Returns:
          What is added to the sums of each channel, which then end at 0 and 255, and comparisons of
          these bytes. None if the thresholds of a channel span more.
        """
        low, high = sums.low[:, None], sums.high[:, None]
        open_ = (self.points >= low) & (self.points < high) & (self.steps != 0)
        first = np.where(open_, self.points, np.iinfo(np.int64).max).min(1)
        first = np.where(open_.any(1), first, sums.low)
        points = np.where(open_, self.points - first[:, None], _NEVER)
        if (points > _NEVER).any() or (points[open_] == _NEVER).any():
            return None
        always = np.where(self.points < low, self.steps, 0)
        return -first, Comparisons(points, self.steps, self.base + always.sum(1), np.uint8)


def count(graph: OnnxGraph, x: str, comparisons: Comparisons, width: int | None, hint: str) -> str:
    """Adds the nodes that count comparisons; bytes wrap around on the way, and fit in the end.

    Args:
      graph: to add to.
      x: name of a tensor of ``comparisons.dtype``, channels last.
      comparisons: what is counted.
      width: how many pixels its rows have, or None.
      hint: how the names of nodes begin.

    Returns:
      The name of a uint8 tensor.
    """

    def row(numbers: np.ndarray) -> str:
        return graph.row((numbers % 256).astype(np.uint8), width)

    total = row(comparisons.base) if comparisons.base.any() else ""
    for points, steps in zip(comparisons.points.T, comparisons.steps.T, strict=True):
        above = graph.node("Greater", [x, graph.row(points.astype(comparisons.dtype), width)])
        counted = graph.cast(above, TensorProto.UINT8)
        if (steps != 1).any():
            counted = graph.node("Mul", [counted, row(steps)])
        total = graph.node("Add", [total, counted], hint=hint) if total else counted
    return total
