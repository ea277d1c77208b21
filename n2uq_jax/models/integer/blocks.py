"""Blocks around a residual stream of integers."""

from collections.abc import Sequence
from typing import Any

from flax import nnx

from n2uq_jax.models.integer.form import IntegerOnly
from n2uq_jax.models.layers import ConvShape
from n2uq_jax.models.mobilenet_v2 import InvertedResidual
from n2uq_jax.models.resnet import ResidualBlock
from n2uq_jax.nn.integer import Grid, add
from n2uq_jax.quantizers import QArray


def run_units(units: Sequence[Any], x: QArray, grid: Grid) -> QArray:
    """Runs the units of a block: values between them are read by thresholds alone.

    Args:
      units: all but the last map real values to real values.
      x: integers of a residual stream.
      grid: what the result lies on.

    Returns:
      Integers on the grid.
    """
    values = x.dequantize()
    for unit in units[:-1]:
        values = unit(values)
    return units[-1](values, grid)


class IntegerResidualBlock(ResidualBlock):
    """Units around a shortcut, and an RPReLU of their sum, in integers.

    Args:
      shapes: the convolutions of the units, in order.
      form: makes the units, the shortcut and the activation.
      rngs: the key stream ``params``.

    Attributes:
      grid: of the stream that begins here; None where the block adds to the one it reads.
    """

    def __init__(self, shapes: Sequence[ConvShape], *, form: IntegerOnly, rngs: nnx.Rngs):
        super().__init__(shapes, form=form, rngs=rngs)
        self.grid = nnx.data(None) if self.shortcut is None else form.grid()

    def __call__(self, x: QArray, grid: Grid) -> QArray:  # type: ignore[override]
        """Maps integers of a stream to integers on ``grid``."""
        residual = x if self.shortcut is None else self.shortcut(x, grid)
        return self.activation(add(run_units(self.units, x, grid), residual), grid)


class IntegerInvertedResidual(InvertedResidual):
    """Units, and their sum with the input where the shape does not change, in integers.

    Args:
      shapes: the convolutions of the units, in order.
      form: makes the units.
      rngs: the key stream ``params``.

    Attributes:
      grid: of the stream that begins here; None where the block adds to the one it reads.
    """

    def __init__(self, shapes: Sequence[ConvShape], *, form: IntegerOnly, rngs: nnx.Rngs):
        super().__init__(shapes, form=form, rngs=rngs)
        self.grid = nnx.data(None) if self.residual else form.grid()

    def __call__(self, x: QArray, grid: Grid) -> QArray:  # type: ignore[override]
        """Maps integers of a stream to integers on ``grid``."""
        y = run_units(self.units, x, grid)
        if not self.residual:
            return y
        return grid.fit(add(x, y).codes)


def run_blocks(blocks: Sequence[Any], x: QArray, grid: Grid) -> tuple[QArray, Grid]:
    """Runs blocks, each on the grid of its stream.

    Args:
      blocks: modules with an attribute ``grid``.
      x: integers on ``grid``.
      grid: of the first stream.

    Returns:
      Integers of the last stream, and its grid.
    """
    for block in blocks:
        grid = grid if block.grid is None else block.grid
        x = block(x, grid)
    return x, grid
