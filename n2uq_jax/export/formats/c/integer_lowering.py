"""From an integer-only program to a list of layers.

Integer arithmetic on the images is followed as expressions, in which the layers of the list are
recognized: a multiplication, an addition and a shift are a rescaling, and so on.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from n2uq_jax.export.formats.c.expressions import (
    Node,
    bounds,
    per_channel,
    pointwise,
    rescaling,
    shape_of,
)
from n2uq_jax.export.formats.c.layers import (
    Add,
    Conv,
    Dense,
    Kind,
    Layer,
    LayerList,
    Pool,
    PReLU,
    Rescale,
    Threshold,
)
from n2uq_jax.export.program.interpreter import Interpreter
from n2uq_jax.export.program.program import IntegerProgram
from n2uq_jax.export.trace.graph import Op, Value, read
from n2uq_jax.export.trace.products import Product, plain_convolution
from n2uq_jax.export.trace.quantizer import Quantizer, Source
from n2uq_jax.primitives import IDENTITIES, RESHAPES

WINDOWS: dict[str, Kind] = {"reduce_window_max": "max", "reduce_window_sum": "sum"}
REDUCTIONS: dict[str, Kind] = {"reduce_max": "max", "reduce_sum": "sum"}
"""Primitives that are pools."""


class IntegerLowering(Interpreter):
    """Walks through the trace of one image.

    Args:
      program: what is lowered.
    """

    def __init__(self, program: IntegerProgram):
        super().__init__(program.network(1), program.thresholds)
        self.program = program
        self.env: dict[Value, Any] = {v: program.tensors[k] for k, v in self.constants.items()}
        self.layers: list[Layer] = []
        self.tensors: dict[Node, str] = {}
        self.zero = np.zeros(program.image_shape[-1], np.uint8)
        self.image = Node(shape_of(program.image_shape), "image")
        self.scale = 1.0
        self.codes: dict[str, str] = {}
        self.env[self.network.graph.inputs[0]] = self.image

    def layer_list(self) -> LayerList:
        """Walks through the trace.

        Returns:
          The layers.
        """
        self.walk()
        output = self.name(self.env[self.network.graph.outputs[0]])
        layers = tuple(self.layers)
        shape = self.image.shape
        return LayerList("image", shape, self.zero, layers, output, self.scale, self.codes)

    def apply_thresholds(self, quantizer: Quantizer, source: Source) -> None:
        """Adds thresholds.

        Args:
          quantizer: a folded one.
          source: the integers that it reads.
        """
        arrays = self.program.thresholds[quantizer.name]
        node = self.env[source.value]
        points, steps, base = (np.asarray(a) for a in (arrays.points, arrays.steps, arrays.base))
        codes = self.made(
            node.shape, lambda out: Threshold(self.name(node), out, points, steps, base)
        )
        self.env[quantizer.codes] = codes
        self.codes[quantizer.name] = self.name(codes)

    def multiply(self, product: Product) -> None:
        """Adds a convolution or a dense layer.

        Args:
          product: of integers.
        """
        x, weight = (self.env[value] for value in product.op.inputs)
        weight = np.asarray(weight)
        if np.abs(weight.astype(int)).max(initial=0) > 127:
            raise ValueError(
                f"the format c has weights of 8 bits; those of {product.name} have more."
            )
        weight = weight.astype(np.int8)
        shape = shape_of(product.accumulator.shape[1:])
        params = product.bilinear.params
        if product.bilinear.name == "dot_general":
            if len(product.op.inputs[0].shape) == 2:
                make: Callable[[str], Layer] = lambda out: Dense(self.name(x), out, weight)  # noqa: E731
            else:
                make = lambda out: Conv(self.name(x), out, weight[None, None])  # noqa: E731
        else:
            if not plain_convolution(params):
                raise ValueError(
                    f"the format c has convolutions of (batch, height, width, channels) without "
                    f"dilated inputs; {product.name} is another."
                )
            make = lambda out: Conv(  # noqa: E731
                self.name(x),
                out,
                weight,
                tuple(params["window_strides"]),
                tuple(params["padding"]),
                tuple(params["rhs_dilation"]),
                params["feature_group_count"],
            )
        self.env[product.accumulator] = self.made(shape, make)

    def compute(self, op: Op) -> None:
        """Takes the logits' scale, the only float arithmetic of an integer-only program.

        Args:
          op: the operation, with its inputs followed already.
        """
        operands = [self._operand(value) for value in op.inputs]
        nodes = [x for x in operands if isinstance(x, Node)]
        (out,) = op.outputs
        if not nodes:
            self.env[out] = np.asarray(op(*operands)[0])
        elif op.name == "mul":
            (scale,) = [x for x in operands if not isinstance(x, Node)]
            if np.size(scale) != 1 and np.ptp(scale) != 0:
                raise ValueError("the format c has one scale for all logits.")
            self.scale = float(np.ravel(scale)[0])
            self.env[out] = nodes[0]
        else:
            self.integers(op)

    def integers(self, op: Op) -> None:
        """Follows integer arithmetic.

        Args:
          op: the operation, with its inputs followed already.
        """
        (out,) = op.outputs
        operands = [self._operand(value) for value in op.inputs]
        if not any(isinstance(x, Node) for x in operands):
            self.env[out] = np.asarray(op(*operands)[0])
            return
        result = self._follow(op, operands)
        if result is None:
            raise ValueError(
                f"the format c has no layer for the operation {op.name} on {op.inputs}."
            )
        self.env[out] = result

    def _operand(self, value: Value) -> Any:
        held = read(self.env, value)
        return held if isinstance(held, Node) else np.asarray(held)

    def _follow(self, op: Op, operands: list[Any]) -> Node | None:
        first = operands[0]
        name = op.name
        if name in IDENTITIES or name == "convert_element_type":
            return first
        if name in RESHAPES:
            shape = op.outputs[0].shape[1:]
            # Elements stay in their order, which is all that a dense layer asks for.
            return first if shape_of(shape) == first.shape or len(shape) == 1 else None
        if name in WINDOWS:
            return self.pool(first, op.params, WINDOWS[name])
        if name in REDUCTIONS:
            return self.over_pixels(first, op.params, REDUCTIONS[name])
        if name == "sub" and first is self.image and not isinstance(operands[1], Node):
            return self._subtract_zero(per_channel(operands[1], first.shape))
        return pointwise(name, operands)

    def _subtract_zero(self, zero: np.ndarray | None) -> Node | None:
        if zero is None:
            return None
        if zero.min() < 0 or zero.max() > 255:
            raise ValueError(f"the format c subtracts bytes from images, not {zero}.")
        self.zero = zero.astype(np.uint8)
        return self.image

    def pool(self, x: Any, params: Mapping[str, Any], kind: Kind) -> Node | None:
        """Adds a pool.

        Args:
          x: what is pooled.
          params: of the primitive.
          kind: of pooling.

        Returns:
          The result; None if its windows are not of rows and columns.
        """
        dilated = any(d != 1 for d in (*params["base_dilation"], *params["window_dilation"]))
        window, stride, padding = (
            params[key] for key in ("window_dimensions", "window_strides", "padding")
        )
        if dilated or len(window) != 4 or window[0] != 1 or window[3] != 1:
            return None
        if stride[3] != 1 or any(padding[0]) or any(padding[3]):
            return None
        size = [
            (n + sum(pads) - w) // s + 1
            for n, w, s, pads in zip(x.shape, window[1:3], stride[1:3], padding[1:3], strict=False)
        ]
        rows, columns = (tuple(p) for p in padding[1:3])
        return self.made(
            (size[0], size[1], x.shape[2]),
            lambda out: Pool(
                self.name(x), out, kind, tuple(window[1:3]), tuple(stride[1:3]), (rows, columns)
            ),
        )

    def over_pixels(self, x: Any, params: Mapping[str, Any], kind: Kind) -> Node | None:
        """Adds a pool of all pixels.

        Args:
          x: what is pooled.
          params: of the primitive.
          kind: of pooling.

        Returns:
          The result; None if it is over other axes.
        """
        if tuple(params["axes"]) != (1, 2):
            return None
        return self.made((1, 1, x.shape[2]), lambda out: Pool(self.name(x), out, kind, x.shape[:2]))

    def made(self, shape: tuple[int, int, int], make: Callable[[str], Layer]) -> Node:
        """Adds a layer, whose inputs are computed before it.

        Args:
          shape: of the tensor that it makes.
          make: makes the layer, given that tensor's name.

        Returns:
          The tensor.
        """
        layer = make("")
        name = f"t{len(self.layers)}"
        self.layers.append(dataclasses.replace(layer, output=name))
        return Node(shape, name)

    def name(self, node: Node) -> str:
        """Returns the tensor of a node, which is computed now if it was not before.

        Args:
          node: of integers.
        """
        if node.tensor is not None:
            return node.tensor
        if node not in self.tensors:
            made = self._compute(node)
            assert made.tensor is not None
            self.tensors[node] = made.tensor
        return self.tensors[node]

    def _compute(self, node: Node) -> Node:
        inner, low, high = bounds(node)
        if inner.kind == "sum":
            one, other = inner.operands
            return self.made(
                node.shape, lambda out: Add(self.name(one), self.name(other), out, low, high)
            )
        after, bent = np.zeros(node.shape[2], np.int64), inner
        if inner.kind == "add" and inner.operands[0].kind == "prelu":
            (after,), (bent,) = inner.constants, inner.operands
        if bent.kind == "prelu":
            before, multiplier, offset, shift = bent.constants
            (x,) = bent.operands
            scaled = before, multiplier, offset, shift, after
            return self.made(node.shape, lambda out: PReLU(self.name(x), out, *scaled, low, high))
        x, multiplier, offset, shift = rescaling(inner)
        if x.kind in ("negative", "not negative"):
            raise ValueError(
                "the format c compares integers with 0 in a leaky activation alone, and in one of "
                "integers of at most 22 bits."
            )
        return self.made(
            node.shape,
            lambda out: Rescale(self.name(x), out, multiplier, offset, shift, low, high),
        )
