"""Products of integers: convolutions and matrix products."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from n2uq_jax.export.trace.graph import Graph, Op, Value
from n2uq_jax.export.trace.ranges import Range, is_integer, of_products
from n2uq_jax.primitives import IDENTITIES, PRODUCTS


@dataclasses.dataclass(eq=False)
class Product:
    """A product of integers with constant weights: a convolution or a matrix product.

    It is one of this library's products of codes, or a plain one of integer arrays.

    Args:
      name: path of the layer.
      op: the operation; its operands are the activations and the weight codes.
      bilinear: the convolution or matrix product in it.
      codes: range of the activations; None if the product does not run on integers.
      reason: why it does not.
    """

    name: str
    op: Op
    bilinear: Op
    codes: Range | None
    reason: str | None

    @property
    def weight(self) -> Value:
        """The weight codes."""
        return self.op.inputs[1]

    @property
    def accumulator(self) -> Value:
        """The sums."""
        return self.op.outputs[0]

    @property
    def pads(self) -> bool:
        """Whether some sums have fewer terms than others, at the border of an image."""
        padding = self.bilinear.params.get("padding", ())
        dilation = self.bilinear.params.get("lhs_dilation", ())
        return any(p != (0, 0) for p in padding) or any(d != 1 for d in dilation)

    def accumulator_range(self, weight: np.ndarray) -> Range:
        """Returns the smallest and the largest possible sum of each output channel.

        Args:
          weight: integer codes with output channels last.
        """
        assert self.codes is not None
        groups = self.bilinear.params.get("feature_group_count", 1)
        if self.bilinear.name == "dot_general":
            weight = weight.reshape(-1, weight.shape[-1])
        return of_products(weight, self.codes, groups=groups, pads=self.pads)


def is_product(op: Op, graph: Graph) -> bool:
    """Whether an operation on the images is a product of codes, or of integers and weights.

    Args:
      op: an operation of the graph.
      graph: tells what depends on the images.
    """
    if op.is_product:
        return True
    plain = op.name in PRODUCTS and all(is_integer(v) for v in op.inputs)
    return plain and op.inputs[0] in graph.from_data and op.inputs[1] not in graph.from_data


def bilinear(op: Op) -> Op:
    """Returns the convolution or matrix product in a product, with all of its padding."""
    (found,) = [o for o in unpadded(op) or [op] if o.name in PRODUCTS]
    return found


def unpadded(op: Op) -> list[Op]:
    """Returns what an operation of this library consists of, padding left to its convolution.

    Maps smaller than the window are padded in front of it, see
    :func:`~n2uq_jax.arithmetic.padding.pad_small_maps`; for a reader that is one convolution.

    Args:
      op: the operation; one of JAX's consists of nothing.
    """
    if not op.is_product:
        return op.body
    producer = {value: inner for inner in op.body for value in inner.outputs}
    (product,) = [inner for inner in op.body if inner.name in PRODUCTS]
    passed, before = [product], producer.get(product.inputs[0])
    while before is not None and before.name in IDENTITIES:
        passed.append(before)
        before = producer.get(before.inputs[0])
    if before is None or before.name != "pad":
        return op.body
    widths = before.params["padding_config"]
    axes = product.params["dimension_numbers"].lhs_spec[2:]
    padding = tuple(widths[axis][:2] for axis in axes)
    whole = dataclasses.replace(
        product,
        inputs=[before.inputs[0], product.inputs[1]],
        params={**product.params, "padding": padding},
    )
    left = [inner for inner in op.body if inner is product or inner not in (*passed, before)]
    return [whole if inner is product else inner for inner in left]


def channels_last(op: Op) -> bool:
    """Whether a convolution or matrix product has its channels on the last axes.

    Args:
      op: a convolution or matrix product.
    """
    dims = op.params["dimension_numbers"]
    rank = len(op.outputs[0].shape)
    if op.name == "dot_general":
        (left, right), batch = dims
        return batch == ((), ()) and tuple(left) == (rank - 1,) and tuple(right) == (0,)
    last = dims.out_spec[1], dims.lhs_spec[1], dims.rhs_spec[0]
    return last == (rank - 1,) * 3 and op.params["batch_group_count"] == 1


def plain_convolution(params: Mapping[str, Any]) -> bool:
    """Whether a convolution is one of (batch, height, width, channels), its input not dilated.

    Args:
      params: of its primitive.
    """
    numbers = params["dimension_numbers"]
    return (
        len(numbers.rhs_spec) == 4
        and numbers.lhs_spec[2:] == (1, 2)
        and numbers.rhs_spec == (3, 2, 0, 1)
        and numbers.out_spec[2:] == (1, 2)
        and all(d == 1 for d in params["lhs_dilation"])
    )
