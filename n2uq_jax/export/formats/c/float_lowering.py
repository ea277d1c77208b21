"""From a program that computes in float between its products to a list of layers.

Operations on elements are followed as expressions, and written as one piece of arithmetic where
something else reads them: a product, a pool, a quantizer's codes, or several readers.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from n2uq_jax.export.formats.c.expressions import Node, per_channel, shape_of
from n2uq_jax.export.formats.c.integer_lowering import REDUCTIONS, WINDOWS, IntegerLowering
from n2uq_jax.export.formats.c.layers import Arithmetic, FloatConv, LayerList, Operation
from n2uq_jax.export.program.program import IntegerProgram
from n2uq_jax.export.trace.graph import Op, Value, read
from n2uq_jax.export.trace.products import plain_convolution, unpadded
from n2uq_jax.primitives import IDENTITIES, POINTWISE, RESHAPES


@dataclasses.dataclass(frozen=True, eq=False)
class FloatNode:
    """A float value on the images: a tensor, or an operation that is not computed yet.

    Args:
      shape: ``(height, width, channels)``.
      tensor: the tensor's name; None for an operation.
      op: the operation on each element.
      operands: float and integer values on the images, and arrays with a number for each channel.
    """

    shape: tuple[int, int, int]
    tensor: str | None = None
    op: Op | None = None
    operands: tuple[Any, ...] = ()


class FloatLowering(IntegerLowering):
    """Walks through the trace of one image, and follows its floats as well.

    Args:
      program: what is lowered.

    Raises:
      ValueError: if images are neither uint8 nor float32.
    """

    def __init__(self, program: IntegerProgram):
        super().__init__(program)
        self.float_image = program.traced.image_dtype == np.float32
        if self.float_image:
            self.env[self.network.graph.inputs[0]] = FloatNode(self.image.shape, "image")
        elif program.traced.image_dtype != np.uint8:
            raise ValueError(
                f"the format c takes images of uint8 or float32, not {program.traced.image_dtype}."
            )
        self.floats: dict[FloatNode, str] = {}
        self.quantizers = {q.op: q.name for q in self.network.quantizers}
        self.read_by = self.readers()

    def layer_list(self) -> LayerList:
        """Walks through the trace.

        Returns:
          The layers.
        """
        return dataclasses.replace(super().layer_list(), float_image=self.float_image)

    def compute(self, op: Op) -> None:
        """Follows float arithmetic.

        Args:
          op: the operation, with its inputs followed already.
        """
        if op.primitive is None:
            for inner in unpadded(op):
                self.compute(inner)
            if op.is_quantizer:
                self._quantize(op)
            return
        operands = [read(self.env, value) for value in op.inputs]
        if not any(isinstance(x, Node | FloatNode) for x in operands):
            results = op(*map(jnp.asarray, operands))
            self.env |= zip(op.outputs, map(np.asarray, results), strict=True)
        elif op.name in IDENTITIES:
            self.env |= zip(op.outputs, operands, strict=True)
        else:
            result = self._follow_floats(op, operands)
            if result is None:
                raise ValueError(
                    f"the format c has no layer for the float operation {op.name} on {op.inputs}."
                )
            self.env[op.outputs[0]] = result
        for value in op.outputs:
            if self._is_kept(op, value):
                node = self.env[value]
                self.env[value] = FloatNode(node.shape, self.name(node))

    def _is_kept(self, op: Op, value: Value) -> bool:
        """Whether several readers share a value, so that it is computed once."""
        isolated = op.name == "optimization_barrier" or value in self.network.shared
        shared = isolated and len(self.read_by.get(value, [])) > 1
        return shared and isinstance(self.env[value], FloatNode)

    def _quantize(self, op: Op) -> None:
        (value,) = op.outputs
        node = self.env[value]
        assert op.max_code is not None
        name = self._compute_floats(node, (0, op.max_code))
        self.env[value] = Node(node.shape, name)
        self.codes[self.quantizers[op]] = name

    def _operand(self, value: Value) -> Any:
        held = read(self.env, value)
        if isinstance(held, FloatNode) and held.op is not None and value in self.network.ranges:
            low, high = self.network.ranges[value].bounds
            self.env[value] = Node(held.shape, self._compute_floats(held, (low, high)))
        return super()._operand(value)

    def _follow_floats(self, op: Op, operands: list[Any]) -> FloatNode | None:
        first = operands[0]
        name, shape = op.name, op.outputs[0].shape[1:]
        on_images = isinstance(first, FloatNode)
        if name in RESHAPES or name == "broadcast_in_dim":
            # Elements stay in their order, which is all that a matrix product asks for.
            flattened = name in RESHAPES and len(shape) == 1
            return first if flattened or shape_of(shape) == first.shape else None
        if name in ("conv_general_dilated", "dot_general"):
            return self._multiply_floats(op, operands) if on_images else None
        if name in WINDOWS and on_images:
            return _floats(self.pool(first, op.params, WINDOWS[name]))
        if name in REDUCTIONS and on_images:
            return _floats(self.over_pixels(first, op.params, REDUCTIONS[name]))
        return self._pointwise(op, operands)

    def _multiply_floats(self, op: Op, operands: list[Any]) -> FloatNode | None:
        x, weight = operands
        if isinstance(weight, Node | FloatNode):
            return None
        weight, params = np.asarray(weight, np.float32), op.params
        shape = shape_of(op.outputs[0].shape[1:])
        if op.name == "conv_general_dilated":
            if not plain_convolution(params):
                return None
            options: tuple[Any, ...] = (
                tuple(params["window_strides"]),
                tuple(params["padding"]),
                tuple(params["rhs_dilation"]),
                params["feature_group_count"],
            )
        else:
            (left, right), batch = params["dimension_numbers"]
            rank = len(op.inputs[0].shape)
            if (tuple(left), tuple(right), batch) != ((rank - 1,), (0,), ((), ())):
                return None
            # Of all elements of an image, or of the channels of each pixel.
            window = x.shape if rank == 2 else (1, 1, x.shape[2])
            weight, options = weight.reshape(*window, -1), ()
        return _floats(self.made(shape, lambda out: FloatConv(self.name(x), out, weight, *options)))

    def _pointwise(self, op: Op, operands: list[Any]) -> FloatNode | None:
        nodes = [x for x in operands if isinstance(x, Node | FloatNode)]
        shapes = {x.shape for x in nodes}
        if op.name not in POINTWISE or len(shapes) != 1:
            return None
        if op.outputs[0].aval.dtype not in (np.float32, np.bool_):
            return None
        found: list[Any] = []
        for x in operands:
            if isinstance(x, Node | FloatNode):
                found.append(x)
                continue
            constant = np.asarray(x)
            row = None if constant.dtype == np.bool_ else per_channel(constant, nodes[0].shape)
            if row is None:
                return None
            found.append(row.astype(np.float32))
        return FloatNode(nodes[0].shape, None, op, tuple(found))

    def name(self, node: Node | FloatNode) -> str:
        """Returns the tensor of a value, which is computed now if it was not before.

        Args:
          node: of integers or floats.
        """
        if isinstance(node, Node):
            return super().name(node)
        if node.tensor is not None:
            return node.tensor
        if node not in self.floats:
            self.floats[node] = self._compute_floats(node, None)
        return self.floats[node]

    def _compute_floats(self, node: FloatNode, codes: tuple[int, int] | None) -> str:
        """Adds arithmetic, and returns the tensor that it makes."""
        pending = self._pending(node)
        inputs: dict[str, int] = {}
        rows: dict[bytes, np.ndarray] = {}
        for operand in (x for part in pending for x in part.operands):
            if isinstance(operand, np.ndarray):
                rows.setdefault(operand.tobytes(), operand)
            elif operand not in pending:
                inputs.setdefault(self.name(operand), len(inputs))
        constant = {key: len(inputs) + i for i, key in enumerate(rows)}
        made = {part: len(inputs) + len(rows) + i for i, part in enumerate(pending)}

        def number(x) -> int:
            if isinstance(x, np.ndarray):
                return constant[x.tobytes()]
            return made[x] if x in made else inputs[self.name(x)]

        operations = []
        for part in pending:
            assert part.op is not None
            operations.append(Operation(part.op, tuple(map(number, part.operands))))
        arithmetic = tuple(inputs), "", tuple(rows.values()), tuple(operations), codes
        made_node = self.made(node.shape, lambda out: Arithmetic(*arithmetic))
        assert made_node.tensor is not None
        return made_node.tensor

    def _pending(self, node: FloatNode) -> dict[FloatNode, None]:
        """Returns the operations behind a value that are not computed yet, in order."""
        order: dict[FloatNode, None] = {}
        stack = [(node, False)]
        while stack:
            part, is_ready = stack.pop()
            if part in order:
                continue
            if is_ready:
                order[part] = None
                continue
            stack.append((part, True))
            stack += [
                (x, False)
                for x in part.operands
                if isinstance(x, FloatNode) and x.tensor is None and x not in self.floats
            ]
        return order


def _floats(node: Node | None) -> FloatNode | None:
    return None if node is None else FloatNode(node.shape, node.tensor)
