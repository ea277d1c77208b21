"""A network as a plain list of layers: what the C generator takes.

Tensors have a name, and lie as (height, width, channels). A layer reads tensors by name and makes
one. Integer arithmetic is that of int32, which must not overflow: ``tensors`` checks it. Float
arithmetic is that of float32, rounded after every operation.
"""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import numpy as np

from n2uq_jax.export.trace.graph import Op

Pads = tuple[tuple[int, int], tuple[int, int]]
"""Pixels in front of and behind the rows, and the columns."""

Kind = Literal["max", "sum"]
"""Of pooling."""


@dataclasses.dataclass(frozen=True, eq=False)
class Conv:
    r"""Sums of products of integers with integer weights, and a bias.

    Padding is the integer 0.

    Args:
      input: a tensor.
      output: name of the sums.
      weight: int8, shape ``(height, width, in_features / groups, features)``.
      stride: of rows and columns.
      padding: in pixels.
      dilation: of rows and columns.
      groups: of channels, in order.
      bias: int32, shape ``(features,)``, or None.
    """

    input: str
    output: str
    weight: np.ndarray
    stride: tuple[int, int] = (1, 1)
    padding: Pads = ((0, 0), (0, 0))
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    bias: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Dense:
    """Sums of products of all integers of an image, in row-major order, with weights.

    Args:
      input: a tensor.
      output: name of the sums, shape ``(1, 1, features)``.
      weight: int8, shape ``(in_features, features)``.
      bias: int32, shape ``(features,)``, or None.
    """

    input: str
    output: str
    weight: np.ndarray
    bias: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Threshold:
    r"""Codes, as :class:`n2uq_jax.export.thresholds.Thresholds` defines them.

    .. math:: k_c(v) = \text{base}_c + \sum_j \text{steps}_{c,j} \cdot [v > \text{points}_{c,j}]

    Args:
      input: a tensor.
      output: name of the codes.
      points: int32, shape ``(channels, points)``, ascending.
      steps: int16, same shape.
      base: int16, shape ``(channels,)``.
    """

    input: str
    output: str
    points: np.ndarray
    steps: np.ndarray
    base: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Rescale:
    r"""Integers on another grid: :math:`\operatorname{clamp}((M_c v + B_c) \gg S_c)`.

    Args:
      input: a tensor.
      output: name of the result.
      multiplier: int32, shape ``(channels,)``.
      offset: int32, same shape.
      shift: int32, same shape, 0 to 31.
      low: smallest result.
      high: largest result.
    """

    input: str
    output: str
    multiplier: np.ndarray
    offset: np.ndarray
    shift: np.ndarray
    low: int
    high: int


@dataclasses.dataclass(frozen=True, eq=False)
class Add:
    """The sum of two tensors of one shape, between ``low`` and ``high``."""

    input: str
    other: str
    output: str
    low: int
    high: int


@dataclasses.dataclass(frozen=True, eq=False)
class PReLU:
    r"""With :math:`u = v + \text{before}_c`, the number :math:`u` or, where it is negative,
    :math:`(M_c u + B_c) \gg S_c`; then ``after`` is added, and the sum kept between ``low``
    and ``high``.

    Args:
      input: a tensor.
      output: name of the result.
      before: int32, shape ``(channels,)``.
      multiplier: int32, same shape.
      offset: int32, same shape.
      shift: int32, same shape, 0 to 31.
      after: int32, same shape.
      low: smallest result.
      high: largest result.
    """  # noqa: D205

    input: str
    output: str
    before: np.ndarray
    multiplier: np.ndarray
    offset: np.ndarray
    shift: np.ndarray
    after: np.ndarray
    low: int
    high: int


@dataclasses.dataclass(frozen=True, eq=False)
class Pool:
    """Maxima or sums over windows. What lies in the padding takes no part.

    Floats are added in row-major order, from 0 on.

    Args:
      input: a tensor.
      output: name of the result.
      kind: of pooling.
      window: height and width.
      stride: of rows and columns.
      padding: in pixels, smaller than the window.
    """

    input: str
    output: str
    kind: Kind
    window: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: Pads = ((0, 0), (0, 0))


@dataclasses.dataclass(frozen=True, eq=False)
class FloatConv:
    r"""Sums of products of floats with float weights; what lies in the padding takes no part.

    A sum begins with 0, and products are added in the order of the window's rows, its columns and
    the channels.

    Args:
      input: a tensor of floats.
      output: name of the sums.
      weight: float32, shape ``(height, width, in_features / groups, features)``.
      stride: of rows and columns.
      padding: in pixels.
      dilation: of rows and columns.
      groups: of channels, in order.
    """

    input: str
    output: str
    weight: np.ndarray
    stride: tuple[int, int] = (1, 1)
    padding: Pads = ((0, 0), (0, 0))
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


@dataclasses.dataclass(frozen=True, eq=False)
class Operation:
    """One operation on each element, as JAX has it.

    Args:
      op: its primitive and parameters.
      operands: numbers of values: the tensors that the arithmetic reads, then its constants, then
        what the operations before make.
    """

    op: Op
    operands: tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Arithmetic:
    """Float arithmetic on the elements of tensors that have one shape; the last operation's result.

    Args:
      inputs: names of tensors; integers are converted to float32 first.
      output: name of the result.
      constants: float32, shape ``(channels,)`` each.
      operations: at least one.
      codes: the smallest and the largest integer, if the result is codes; None for floats.
    """

    inputs: tuple[str, ...]
    output: str
    constants: tuple[np.ndarray, ...]
    operations: tuple[Operation, ...]
    codes: tuple[int, int] | None = None


Layer = Conv | Dense | Threshold | Rescale | Add | PReLU | Pool | FloatConv | Arithmetic


def inputs(layer: Layer) -> tuple[str, ...]:
    """Returns the names of the tensors that a layer reads.

    Args:
      layer: any.
    """
    match layer:
        case Arithmetic():
            return layer.inputs
        case Add():
            return layer.input, layer.other
    return (layer.input,)


@dataclasses.dataclass(frozen=True, eq=False)
class LayerList:
    """A network.

    Args:
      image: name of the input.
      image_shape: ``(height, width, channels)``.
      zero: uint8, shape ``(channels,)``, which is subtracted from the image where a convolution
        reads it; the padding is 0 after that.
      layers: in an order in which they can be computed.
      output: name of the result, shape ``(1, 1, classes)``.
      scale: of the logits: ``scale`` times the output.
      codes: of each quantizer, by its name, the tensor that holds its codes.
      float_image: whether the image is float32, else unsigned bytes.
    """

    image: str
    image_shape: tuple[int, int, int]
    zero: np.ndarray
    layers: tuple[Layer, ...]
    output: str
    scale: float = 1.0
    codes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    float_image: bool = False


INT32 = np.iinfo(np.int32)
