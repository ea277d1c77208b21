"""The nodes and constants of an ONNX graph, and the nodes that only move elements."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from n2uq_jax.export.trace.graph import Op


class NotInOnnx(ValueError):
    """A network uses an operation that the ONNX export does not know."""


class OnnxGraph:
    """Nodes and constants, in the order in which they are added.

    Args:
      opset: version of the operators.
    """

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self._constants: dict[Any, str] = {}
        self._casts: dict[tuple[str, int], str] = {}

    def node(self, operator: str, inputs: Sequence[str], *, hint: str = "", **attributes) -> str:
        """Adds a node with one output, and returns that output's name."""
        output = f"{hint or operator}_{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(operator, list(inputs), [output], name=output, **attributes)
        )
        return output

    def constant(self, array: Any, hint: str = "constant") -> str:
        """Adds a constant, and returns its name.

        Args:
          array: what it holds.
          hint: how its name begins.

        Returns:
          The name; the same for the same array.
        """
        array = np.asarray(array)
        key = (hint, array.dtype.name, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"{hint}_{len(self.initializers)}"
            self.initializers[name] = numpy_helper.from_array(array, name)
            self._constants[key] = name
        return self._constants[key]

    def used(self, outputs: Sequence[str]) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
        """Returns the nodes and the constants that some tensors are computed from.

        Args:
          outputs: names of tensors.
        """
        needed = set(outputs)
        nodes = []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                nodes.append(node)
                needed.update(node.input)
        constants = [tensor for name, tensor in self.initializers.items() if name in needed]
        return nodes[::-1], constants

    def row(self, numbers: np.ndarray, width: int | None) -> str:
        """Adds a constant for each channel, as an operand of tensors with channels last.

        Runtimes broadcast long rows several times faster than the few channels of a pixel, so the
        numbers are repeated along a row of pixels: when the model is loaded, and not in its file.

        Args:
          numbers: shape ``(channels,)``.
          width: how many pixels a row has; None for tensors without rows.

        Returns:
          The name of a constant of shape ``()``, ``(channels,)`` or ``(width, channels)``.
        """
        if (numbers == numbers[:1]).all():
            return self.constant(numbers[0])
        channels = self.constant(numbers)
        if width is None:
            return channels
        key = ("row", channels, width)
        if key not in self._constants:
            shape = self.constant(np.asarray((width, len(numbers)), np.int64))
            self._constants[key] = self.node("Expand", [channels, shape])
        return self._constants[key]

    def cast(self, x: str, kind: int) -> str:
        """Adds a Cast to an ONNX element type, unless there is one, or ``x`` comes from there."""
        if (x, kind) not in self._casts:
            self._casts[x, kind] = self.node("Cast", [x], to=kind)
        return self._casts[x, kind]

    def cast_exact(self, x: str, kind: int, back: int) -> str:
        """Adds a Cast that loses nothing, so that casting its result back gives ``x``.

        Args:
          x: name of a tensor.
          kind: the ONNX element type of the result.
          back: that of ``x``.

        Returns:
          The name of the result.
        """
        result = self.cast(x, kind)
        self._casts[result, back] = x
        return result

    def reshape(self, x: str, shape: Sequence[Any]) -> str:
        """Adds a Reshape; one dimension may be symbolic."""
        return self.node("Reshape", [x, self.constant(np.asarray(fixed(shape), np.int64))])

    def slice(self, x: str, start, limit, strides, shape) -> str:
        """Adds a Slice of the axes that it changes.

        Args:
          x: name of the tensor.
          start: first index of each axis.
          limit: one past the last index of each axis.
          strides: of each axis; None for ones.
          shape: of the tensor.

        Returns:
          The name of the result; that of ``x`` if nothing is cut.
        """
        strides = strides or (1,) * len(shape)
        axes = [
            i for i in range(len(shape)) if (start[i], strides[i]) != (0, 1) or limit[i] != shape[i]
        ]
        if not axes:
            return x
        arrays = ([v[i] for i in axes] for v in (start, limit, range(len(shape)), strides))
        return self.node("Slice", [x, *(self.constant(np.asarray(a, np.int64)) for a in arrays)])

    def channels_first(self, x: str, rank: int) -> str:
        """Moves the last axis of a tensor behind its first."""
        perm = [0, rank - 1, *range(1, rank - 1)]
        return self.node("Transpose", [x], perm=perm) if rank > 2 else x

    def channels_last(self, x: str, rank: int) -> str:
        """Moves the second axis of a tensor to its end."""
        perm = [0, *range(2, rank), 1]
        return self.node("Transpose", [x], perm=perm) if rank > 2 else x


def fixed(shape: Sequence[Any]) -> list[int]:
    """Returns a shape for Reshape, its symbolic dimension as -1.

    Args:
      shape: sizes, at most one of them symbolic.
    """
    dims = [d if isinstance(d, int) else -1 for d in shape]
    if dims.count(-1) > 1:
        raise NotInOnnx(f"ONNX export does not know reshapes to {tuple(shape)}.")
    return dims


def unit_shape(op: Op) -> list[Any]:
    """Returns the operand's shape of a broadcast, with ones for the dimensions that are new.

    Args:
      op: a ``broadcast_in_dim``.
    """
    shape: list[Any] = [1] * len(op.outputs[0].shape)
    for axis, size in zip(op.params["broadcast_dimensions"], op.inputs[0].shape, strict=True):
        shape[axis] = size
    return shape


def row_length(shape: Sequence[Any]) -> int | None:
    """Returns how many pixels a row of a tensor with this shape has; None without rows.

    Args:
      shape: channels last.
    """
    return shape[-2] if len(shape) > 2 else None
