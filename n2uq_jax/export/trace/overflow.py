"""Integer arithmetic that could wrap around."""

import dataclasses

import numpy as np

from n2uq_jax.export.trace.graph import Op
from n2uq_jax.export.trace.ranges import Range, is_integer


@dataclasses.dataclass(frozen=True)
class Overflow:
    """Integer arithmetic that its dtype need not hold.

    Args:
      layer: where it is.
      op: the operation.
      channel: the first such channel.
      low: the smallest result that its operands allow in that channel.
      high: the largest.
    """

    layer: str
    op: Op
    channel: int
    low: int
    high: int

    def __str__(self) -> str:
        (result,) = self.op.outputs
        dtype = result.aval.dtype if is_integer(result) else np.dtype(np.int32)
        return (
            f"{self.layer}: {self.op.name} in {dtype} can overflow: channel {self.channel} lies "
            f"in {self.low:,}..{self.high:,}"
        )


def find_overflow(op: Op, needed: Range, held: Range, layer: str) -> Overflow | None:
    """Compares the integers that an operation can give with those that can be held.

    Args:
      op: the operation.
      needed: the range of its results, were they not to wrap around.
      held: the range of what holds them.
      layer: where it is.

    Returns:
      The first channel whose results need not fit; None if all do.
    """
    wrong = np.atleast_1d((needed.low < held.low) | (needed.high > held.high))
    if not wrong.any():
        return None
    channel = int(wrong.argmax())
    low, high = (int(np.atleast_1d(end)[channel]) for end in (needed.low, needed.high))
    return Overflow(layer, op, channel, low, high)
