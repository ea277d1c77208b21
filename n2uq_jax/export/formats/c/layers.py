"""A network of integers as a plain list of layers: what the C generator takes.

Tensors have a name, and lie as (height, width, channels). A layer reads tensors by name and makes
one. All arithmetic is that of int32, which must not overflow: :func:`ranges` checks it.
"""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import numpy as np

Pads = tuple[tuple[int, int], tuple[int, int]]
"""Pixels in front of and behind the rows, and the columns."""


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
    kind: Literal["max", "sum"]
    window: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: Pads = ((0, 0), (0, 0))


Layer = Conv | Dense | Threshold | Rescale | Add | PReLU | Pool


@dataclasses.dataclass(frozen=True, eq=False)
class LayerList:
    """An integer network.

    Args:
      image: name of the input: unsigned bytes.
      image_shape: ``(height, width, channels)``.
      zero: uint8, shape ``(channels,)``, which is subtracted from the image where a convolution
        reads it; the padding is 0 after that.
      layers: in an order in which they can be computed.
      output: name of the result, shape ``(1, 1, classes)``.
      scale: of the logits: ``scale`` times the output.
      codes: of each quantizer, by its name, the tensor that holds its codes.
    """

    image: str
    image_shape: tuple[int, int, int]
    zero: np.ndarray
    layers: tuple[Layer, ...]
    output: str
    scale: float = 1.0
    codes: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Tensor:
    """Shape of a tensor, and the smallest and the largest integer that it can hold."""

    shape: tuple[int, int, int]
    low: int
    high: int


INT32 = np.iinfo(np.int32)


def tensors(network: LayerList) -> dict[str, Tensor]:
    """Returns every tensor's shape and range.

    Args:
      network: the layers.

    Raises:
      ValueError: if a layer does not fit its input, or its arithmetic could leave int32.
    """
    zero = network.zero.astype(int)
    found = {
        network.image: Tensor(network.image_shape, int(-zero.max()), int(255 - zero.min())),
    }
    for layer in network.layers:
        if layer.output in found:
            raise ValueError(f"two layers make the tensor {layer.output!r}.")
        for name in (layer.input, *([layer.other] if isinstance(layer, Add) else [])):
            if name not in found:
                raise ValueError(
                    f"{layer.output!r} reads {name!r}, which no layer before it makes."
                )
        found[layer.output] = _result(layer, found)
    if network.output not in found:
        raise ValueError(f"no layer makes the output {network.output!r}.")
    return found


def _result(layer: Layer, found: dict[str, Tensor]) -> Tensor:
    source = found[layer.input]
    height, width, channels = source.shape
    match layer:
        case Conv():
            kernel_height, kernel_width, inputs, features = layer.weight.shape
            if inputs * layer.groups != channels or features % layer.groups:
                raise ValueError(
                    f"{layer.output!r}: weights of shape {layer.weight.shape} in {layer.groups} "
                    f"groups do not take {channels} channels."
                )
            size = _windows(
                layer.output,
                (height, width),
                (kernel_height, kernel_width),
                layer.stride,
                layer.padding,
                layer.dilation,
            )
            low, high = _sums(layer, layer.weight.reshape(-1, features), source)
            return Tensor((*size, features), low, high)
        case Dense():
            if layer.weight.shape[0] != height * width * channels:
                raise ValueError(
                    f"{layer.output!r}: weights of shape {layer.weight.shape} do not take "
                    f"{source.shape}."
                )
            low, high = _sums(layer, layer.weight, source)
            return Tensor((1, 1, layer.weight.shape[1]), low, high)
        case Threshold():
            reached = layer.base.astype(int)[:, None] + np.cumsum(layer.steps, 1, dtype=int)
            reached = np.concatenate([layer.base.astype(int)[:, None], reached], 1)
            return Tensor(source.shape, int(reached.min()), int(reached.max()))
        case Rescale():
            ends = _ends(layer.multiplier, source.low, source.high) + layer.offset.astype(int)
            _fits(layer.output, ends)
            return _between(layer, source.shape, ends >> layer.shift.astype(int))
        case Add():
            other = found[layer.other]
            if other.shape != source.shape:
                raise ValueError(
                    f"{layer.output!r} adds tensors of shapes {source.shape} and {other.shape}."
                )
            ends = np.array([source.low + other.low, source.high + other.high])
            _fits(layer.output, ends)
            return _between(layer, source.shape, ends)
        case PReLU():
            before = layer.before.astype(int)
            lowest, highest = source.low + before, source.high + before
            scaled = layer.multiplier.astype(int) * np.minimum(lowest, 0)
            scaled = np.stack([scaled, np.zeros_like(scaled)]) + layer.offset.astype(int)
            _fits(layer.output, np.stack([lowest, highest, *scaled]))
            kept = np.maximum(np.stack([lowest, highest]), 0)
            ends = np.concatenate([kept, scaled >> layer.shift.astype(int)])
            ends = ends + layer.after.astype(int)
            _fits(layer.output, ends)
            return _between(layer, source.shape, ends)
        case Pool():
            size = _windows(
                layer.output, (height, width), layer.window, layer.stride, layer.padding, (1, 1)
            )
            if any(max(pads) >= n for pads, n in zip(layer.padding, layer.window, strict=True)):
                raise ValueError(f"{layer.output!r}: a window lies in the padding alone.")
            count = layer.window[0] * layer.window[1] if layer.kind == "sum" else 1
            low, high = min(source.low, source.low * count), max(source.high, source.high * count)
            _fits(layer.output, np.array([low, high]))
            return Tensor((*size, channels), low, high)


def _between(layer: Rescale | Add | PReLU, shape, ends: np.ndarray) -> Tensor:
    low, high = np.clip([ends.min(), ends.max()], layer.low, layer.high)
    return Tensor(shape, int(low), int(high))


def _windows(name, size, kernel, stride, padding, dilation) -> tuple[int, int]:
    counts = [
        (n + before + after - (k - 1) * d - 1) // s + 1
        for n, k, s, (before, after), d in zip(size, kernel, stride, padding, dilation, strict=True)
    ]
    if min(counts) < 1:
        raise ValueError(f"{name!r}: windows of {kernel} do not fit an input of {size}.")
    return counts[0], counts[1]


def _sums(layer: Conv | Dense, weight: np.ndarray, source: Tensor) -> tuple[int, int]:
    weight = weight.astype(int)
    # In the padding the integer is 0, which the range may not have.
    low, high = min(source.low, 0), max(source.high, 0)
    ends = np.stack(
        [np.minimum(weight * low, weight * high), np.maximum(weight * low, weight * high)]
    )
    # Partial sums of any order fit, as products of one sign do.
    sums = ends.sum(1)
    _fits(layer.output, sums)
    if layer.bias is not None:
        sums = sums + layer.bias.astype(int)
        _fits(layer.output, sums)
    return int(sums[0].min()), int(sums[1].max())


def _ends(multiplier: np.ndarray, low: int, high: int) -> np.ndarray:
    return np.stack([multiplier.astype(int) * low, multiplier.astype(int) * high])


def _fits(name: str, integers: np.ndarray) -> None:
    if integers.min() < INT32.min or integers.max() > INT32.max:
        raise ValueError(
            f"{name!r} reaches {integers.min()} and {integers.max()}, outside of int32."
        )
