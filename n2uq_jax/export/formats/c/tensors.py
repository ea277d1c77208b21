"""Shapes and ranges of the tensors that layers make, and whether their arithmetic fits int32."""

import dataclasses

import numpy as np

from n2uq_jax.export.formats.c.layers import (
    INT32,
    Add,
    Arithmetic,
    Conv,
    Dense,
    FloatConv,
    Layer,
    LayerList,
    Pool,
    PReLU,
    Rescale,
    Threshold,
    inputs,
)


@dataclasses.dataclass(frozen=True)
class Tensor:
    """What a tensor holds.

    Args:
      shape: ``(height, width, channels)``.
      low: the smallest integer that it can hold; 0 for floats.
      high: the largest; 0 for floats.
      is_float: whether it holds floats.
    """

    shape: tuple[int, int, int]
    low: int
    high: int
    is_float: bool = False


def tensors(network: LayerList) -> dict[str, Tensor]:
    """Returns every tensor's shape and range.

    Args:
      network: the layers.

    Raises:
      ValueError: if a layer does not fit its input, or its arithmetic could leave int32.
    """
    zero = network.zero.astype(int)
    image = Tensor(network.image_shape, int(-zero.max()), int(255 - zero.min()))
    if network.float_image:
        image = _floats(network.image_shape)
    found = {network.image: image}
    for layer in network.layers:
        if layer.output in found:
            raise ValueError(f"two layers make the tensor {layer.output!r}.")
        for name in inputs(layer):
            if name not in found:
                raise ValueError(
                    f"{layer.output!r} reads {name!r}, which no layer before it makes."
                )
        found[layer.output] = _result(layer, found)
    if network.output not in found:
        raise ValueError(f"no layer makes the output {network.output!r}.")
    return found


def _result(layer: Layer, found: dict[str, Tensor]) -> Tensor:
    if isinstance(layer, Arithmetic):
        return _arithmetic(layer, found)
    source = found[layer.input]
    height, width, channels = source.shape
    if source.is_float and not isinstance(layer, FloatConv | Pool):
        raise ValueError(f"{layer.output!r} computes integers, and reads floats.")
    match layer:
        case Conv():
            shape = _convolved(layer, source)
            low, high = _sums(layer, layer.weight.reshape(-1, shape[2]), source)
            return Tensor(shape, low, high)
        case FloatConv():
            if not source.is_float:
                raise ValueError(f"{layer.output!r} computes floats, and reads integers.")
            return _floats(_convolved(layer, source))
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
            if source.is_float:
                return _floats((*size, channels))
            count = layer.window[0] * layer.window[1] if layer.kind == "sum" else 1
            low, high = min(source.low, source.low * count), max(source.high, source.high * count)
            _fits(layer.output, np.array([low, high]))
            return Tensor((*size, channels), low, high)


def _floats(shape: tuple[int, int, int]) -> Tensor:
    return Tensor(shape, 0, 0, is_float=True)


def _arithmetic(layer: Arithmetic, found: dict[str, Tensor]) -> Tensor:
    shapes = {found[name].shape for name in layer.inputs}
    if len(shapes) != 1:
        raise ValueError(f"{layer.output!r} reads tensors of the shapes {sorted(shapes)} together.")
    (shape,) = shapes
    return _floats(shape) if layer.codes is None else Tensor(shape, *layer.codes)


def _convolved(layer: Conv | FloatConv, source: Tensor) -> tuple[int, int, int]:
    height, width, channels = source.shape
    kernel_height, kernel_width, each, features = layer.weight.shape
    if each * layer.groups != channels or features % layer.groups:
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
    return (*size, features)


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
