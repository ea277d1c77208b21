"""Activation quantizers in a trace, and the integers that decide their codes."""

import dataclasses

import numpy as np

from n2uq_jax.export.trace.graph import Graph, Op, Value
from n2uq_jax.export.trace.ranges import Range
from n2uq_jax.primitives import POINTWISE, RESHAPES


@dataclasses.dataclass(eq=False)
class Source:
    """An integer value on the images that alone decides the codes of a quantizer.

    It is the sums of a product, the codes of another quantizer, or what integer arithmetic makes
    of these or of uint8 images: a residual stream, a pool, a sum of such.

    Args:
      name: of the layer that it comes from.
      value: the integers, channels last.
      range: the integers between which they lie, per channel.
    """

    name: str
    value: Value
    range: Range

    @property
    def low(self) -> np.ndarray:
        """The smallest integer of each channel: int64, shape ``(channels,)``."""
        return self.range.low

    @property
    def high(self) -> np.ndarray:
        """The largest integer of each channel: int64, shape ``(channels,)``."""
        return self.range.high


@dataclasses.dataclass(eq=False)
class Quantizer:
    """An activation quantizer, and what it reads.

    Args:
      name: path of the layer.
      op: the operation; its first operand is what it quantizes.
      source: the one integer value that decides its codes, pointwise; else None.
      chain: the float operations from that value to the codes.
      reason: why there is no such value.
    """

    name: str
    op: Op
    source: Source | None
    chain: list[Op]
    reason: str | None

    @property
    def codes(self) -> Value:
        """The codes."""
        return self.op.outputs[0]

    @property
    def max_code(self) -> int:
        """The largest code, which is the number of thresholds."""
        assert self.op.max_code is not None
        return self.op.max_code


def is_channelwise(op: Op, channels: int, graph: Graph) -> bool:
    """Whether each result depends on one element of the data and on its channel alone.

    Args:
      op: an operation on the images.
      channels: of that element, on the last axis.
      graph: tells what depends on the images.
    """
    data = [v for v in op.inputs if v in graph.from_data]
    if op.outputs[0].shape[-1:] != (channels,) or len(op.outputs) != 1:
        return False
    if op.name in RESHAPES:
        return data[0].shape[-1:] == (channels,)
    if any(v.shape != op.outputs[0].shape for v in data):
        return False
    if op.is_quantizer:
        return True
    return op.name in POINTWISE and all(
        _is_per_channel(v, graph) for v in op.inputs if v not in data
    )


def _is_per_channel(value: Value, graph: Graph) -> bool:
    """Whether a value computed from parameters is the same at every position."""
    if all(d == 1 for d in value.shape[:-1]):
        return True
    op = graph.producer.get(value)
    if op is None:
        return False
    if op.name == "broadcast_in_dim":
        last = len(value.shape) - 1
        moved = zip(op.inputs[0].shape, op.params["broadcast_dimensions"], strict=True)
        return all(size == 1 or axis == last for size, axis in moved)
    return op.name in POINTWISE and all(_is_per_channel(v, graph) for v in op.inputs)
