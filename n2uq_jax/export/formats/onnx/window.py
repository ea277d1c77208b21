"""What a convolution reads, and from where."""

import dataclasses

import numpy as np

from n2uq_jax.export.formats.onnx.graph import NotInOnnx, OnnxGraph
from n2uq_jax.export.trace.products import Product
from n2uq_jax.export.trace.ranges import Range


@dataclasses.dataclass(frozen=True)
class Codes:
    """Integers that a product reads.

    Args:
      name: of a tensor, channels last.
      kind: its ONNX element type.
      shape: its shape, the batch symbolic.
      range: the integers between which it lies.
    """

    name: str
    kind: int
    shape: tuple
    range: Range


@dataclasses.dataclass(frozen=True)
class Window:
    """The positions that a convolution reads.

    Args:
      kernel: sizes of its window.
      strides: between windows.
      dilation: between what is read in a window.
      padding: in front of and behind each axis.
      size: of each axis of the padded input.
      out: of each axis of the result.
      channels: of the input.
      groups: of channels.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    size: tuple[int, ...]
    out: tuple[int, ...]
    channels: int
    groups: int

    @classmethod
    def of(cls, product: Product, x: Codes, weight: np.ndarray) -> "Window":
        """Reads a convolution's parameters.

        Args:
          product: the convolution.
          x: what it reads.
          weight: output channels last.

        Returns:
          Where its windows lie.

        Raises:
          NotInOnnx: if its input is dilated.
        """
        params = product.bilinear.params
        if set(params["lhs_dilation"]) != {1}:
            raise NotInOnnx(f"ONNX export does not know the transposed {product.name}.")
        padding = tuple(params["padding"])
        return cls(
            tuple(weight.shape[:-2]),
            tuple(params["window_strides"]),
            tuple(params["rhs_dilation"]),
            padding,
            tuple(n + sum(pads) for n, pads in zip(x.shape[1:-1], padding, strict=True)),
            tuple(product.accumulator.shape[1:-1]),
            x.shape[-1],
            params["feature_group_count"],
        )

    def padded(self, graph: OnnxGraph, x: str) -> str:
        """Surrounds a tensor with the integer 0.

        Args:
          graph: to add to.
          x: name of the tensor, channels last.

        Returns:
          The name of the result.
        """
        if not any(map(any, self.padding)):
            return x
        before, after = zip((0, 0), *self.padding, (0, 0), strict=True)
        return graph.node("Pad", [x, graph.constant(np.asarray([*before, *after], np.int64))])

    def patches(self, graph: OnnxGraph, x: str) -> str:
        """Collects what each window reads, as the channels of one pixel.

        Args:
          graph: to add to.
          x: name of the padded tensor, channels last.

        Returns:
          The name of the result, of the shape of the convolution's but for its channels.
        """
        if all(n == 1 for n in (*self.kernel, *self.strides)):
            return x
        shape = (-1, int(np.prod(self.size)), self.channels)
        pixels = graph.node("Reshape", [x, graph.constant(np.asarray(shape, np.int64))])
        pitches = [int(np.prod(self.size[i + 1 :])) for i in range(len(self.size))]
        # Summed up when the model is loaded: these axes are short, and their product is long.
        axes = [
            np.arange(n) * step * pitch
            for counts, steps in ((self.out, self.strides), (self.kernel, self.dilation))
            for n, step, pitch in zip(counts, steps, pitches, strict=True)
        ]
        first, *others = (
            graph.constant(axis.astype(np.int32).reshape(-1, *(1,) * (len(axes) - 1 - i)))
            for i, axis in enumerate(axes)
        )
        for other in others:
            first = graph.node("Add", [first, other])
        taps = graph.node("Gather", [pixels, first], axis=1)
        inputs = int(np.prod(self.kernel)) * self.channels
        return graph.reshape(taps, (-1, *self.out, inputs))
