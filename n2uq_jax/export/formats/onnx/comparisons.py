"""Thresholds as nodes: codes that count comparisons."""

import dataclasses

import numpy as np
from onnx import TensorProto

from n2uq_jax.export.formats.onnx.graph import OnnxGraph, row_length
from n2uq_jax.export.thresholds.thresholds import Thresholds
from n2uq_jax.export.trace.ranges import Range

_NEVER = 255
"""No byte is larger."""

_MOST_COMPARISONS = 4
"""More take longer than reading codes from a table."""

_LARGEST_TABLE = 2**18
"""Bytes of a quantizer's tables that a processor's second cache holds; beyond, comparisons win."""


@dataclasses.dataclass(frozen=True)
class Comparisons:
    r"""Codes :math:`\text{base}_c + \sum_j \text{steps}_{c,j} [v > \text{points}_{c,j}]`.

    Args:
      points: integers, shape ``(channels, points)``.
      steps: same shape.
      base: shape ``(channels,)``.
      dtype: of what is compared: int32, int16 or uint8.
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
        low = sums.low[:, None]
        open_, first = self._open(sums)
        points = np.where(open_, self.points - first[:, None], _NEVER)
        if (points > _NEVER).any() or (points[open_] == _NEVER).any():
            return None
        always = np.where(self.points < low, self.steps, 0)
        return -first, Comparisons(points, self.steps, self.base + always.sum(1), np.uint8)

    def in_shorts(self, sums: Range) -> "Comparisons | None":
        """Returns comparisons of 16-bit integers, which are several times faster.

        Args:
          sums: between which integers lie, per channel.

        Returns:
          The comparisons; None if the integers take more bits.
        """
        ends = np.iinfo(np.int16)
        low, high = sums.bounds
        # All integers are above the least one, so that thresholds below them have a place.
        if self.dtype != np.int32 or low <= ends.min or high > ends.max:
            return None
        points = np.clip(self.points, ends.min, ends.max)
        return dataclasses.replace(self, points=points, dtype=np.int16)

    @property
    def same(self) -> bool:
        """Whether all channels have the same comparisons."""
        arrays = (self.points, self.steps, self.base)
        return all(bool((array == array[:1]).all()) for array in arrays)

    def span(self, sums: Range) -> tuple[np.ndarray, int]:
        """Returns the first threshold of each channel, and how far apart first and last are.

        Args:
          sums: between which integers lie, per channel; other thresholds do not count.
        """
        open_, first = self._open(sums)
        return first, int(np.where(open_, self.points - first[:, None], 0).max())

    def _open(self, sums: Range) -> tuple[np.ndarray, np.ndarray]:
        """Says which thresholds sums can lie on both sides of, and the first of each channel."""
        low, high = sums.low[:, None], sums.high[:, None]
        open_ = (self.points >= low) & (self.points < high) & (self.steps != 0)
        first = np.where(open_, self.points, np.iinfo(np.int64).max).min(1)
        return open_, np.where(open_.any(1), first, sums.low)


def add_codes(
    graph: OnnxGraph, x: str, comparisons: Comparisons, sums: Range, shape, hint: str
) -> str:
    """Adds the nodes that turn integers into codes: a table of them, or comparisons if few.

    Args:
      graph: to add to.
      x: name of a tensor of ``comparisons.dtype``, channels last.
      comparisons: what decides the codes.
      sums: between which the integers lie, per channel.
      shape: of the tensor.
      hint: how the names of nodes begin.

    Returns:
      The name of a uint8 tensor.
    """
    if comparisons.dtype == np.int32 and comparisons.points.shape[1] > _MOST_COMPARISONS:
        channels = shape[-1]
        low, high = sums.bounds
        if comparisons.same and high - min(low, 0) < _LARGEST_TABLE:
            return _look_up(graph, x, comparisons, sums, shape, hint)
        if comparisons.span(sums)[1] * channels < _LARGEST_TABLE:
            return _look_up_by_channel(graph, x, comparisons, sums, shape, hint)
    shorts = comparisons.in_shorts(sums)
    if shorts is not None:
        x, comparisons = graph.cast(x, TensorProto.INT16), shorts
    return count(graph, x, comparisons, row_length(shape), hint)


def _look_up(
    graph: OnnxGraph, x: str, comparisons: Comparisons, sums: Range, shape, hint: str
) -> str:
    """Reads codes from a table that has negative integers behind the others, as indices have."""
    low, high = sums.bounds
    parts = [_range(graph, 0, max(high, 0) + 1)]
    if low < 0:
        parts.append(_range(graph, low, 0))
    integers = graph.node("Concat", parts, axis=0) if len(parts) > 1 else parts[0]
    first = (getattr(comparisons, name)[:1] for name in ("points", "steps", "base"))
    table = count(graph, integers, Comparisons(*first), None, hint)
    index = graph.reshape(x, (-1,))
    return graph.reshape(graph.node("GatherElements", [table, index], axis=0), shape)


def _look_up_by_channel(
    graph: OnnxGraph, x: str, comparisons: Comparisons, sums: Range, shape, hint: str
) -> str:
    """Reads codes from a table for each channel, between its first and its last threshold."""
    first, span = comparisons.span(sums)
    above = graph.node("Sub", [x, graph.row(first.astype(np.int32), row_length(shape))])
    ends = (graph.constant(np.int32(end)) for end in (0, span + 1))
    index = graph.reshape(graph.node("Clip", [above, *ends]), (-1, shape[-1]))
    rows = graph.reshape(_range(graph, 0, span + 2), (-1, 1))
    integers = graph.node("Add", [rows, graph.constant(first.astype(np.int32))])
    table = count(graph, integers, comparisons, None, hint)
    return graph.reshape(graph.node("GatherElements", [table, index], axis=0), shape)


def _range(graph: OnnxGraph, start: int, stop: int) -> str:
    """Adds all integers of an interval, which the runtime makes when it loads the model."""
    ends = (graph.constant(np.int32(number)) for number in (start, stop, 1))
    return graph.node("Range", list(ends))


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
