"""The meaning of a layer list, in NumPy: what generated programs are compared with."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from n2uq_jax.export.formats.c.layers import (
    Add,
    Conv,
    Dense,
    Layer,
    LayerList,
    Pads,
    Pool,
    PReLU,
    Rescale,
    Threshold,
)


def interpret(network: LayerList, images: np.ndarray) -> dict[str, np.ndarray]:
    """Computes every tensor of a network.

    Args:
      network: any.
      images: uint8, shape ``(batch, *network.image_shape)``.

    Returns:
      Tensors by name, int64, shape ``(batch, height, width, channels)``.
    """
    found = {network.image: images.astype(np.int64) - network.zero.astype(np.int64)}
    for layer in network.layers:
        found[layer.output] = _compute(layer, found)
    return found


def _compute(layer: Layer, found: dict[str, np.ndarray]) -> np.ndarray:
    x = found[layer.input]
    match layer:
        case Conv():
            return _convolve(layer, x)
        case Dense():
            sums = x.reshape(len(x), -1) @ layer.weight.astype(np.int64)
            return _biased(sums, layer.bias)[:, None, None, :]
        case Threshold():
            above = x[..., None] > layer.points
            return layer.base + np.where(above, layer.steps, 0).sum(-1, dtype=np.int64)
        case Rescale():
            scaled = (layer.multiplier.astype(np.int64) * x + layer.offset) >> layer.shift
            return np.clip(scaled, layer.low, layer.high)
        case Add():
            return np.clip(x + found[layer.other], layer.low, layer.high)
        case PReLU():
            u = x + layer.before
            scaled = (layer.multiplier.astype(np.int64) * u + layer.offset) >> layer.shift
            return np.clip(np.where(u < 0, scaled, u) + layer.after, layer.low, layer.high)
        case Pool(kind="max"):
            padded = _padded(x, layer.padding, np.iinfo(np.int64).min)
            return _windows(padded, layer.window, layer.stride, (1, 1)).max((-2, -1))
        case Pool():
            padded = _padded(x, layer.padding, 0)
            return _windows(padded, layer.window, layer.stride, (1, 1)).sum((-2, -1))


def _convolve(layer: Conv, x: np.ndarray) -> np.ndarray:
    weight = layer.weight.astype(np.int64)
    height, width, inputs, features = weight.shape
    windows = _windows(_padded(x, layer.padding, 0), (height, width), layer.stride, layer.dilation)
    each = features // layer.groups
    groups = [
        np.einsum(
            "byxchw,hwco->byxo",
            windows[:, :, :, g * inputs : (g + 1) * inputs],
            weight[..., g * each : (g + 1) * each],
        )
        for g in range(layer.groups)
    ]
    return _biased(np.concatenate(groups, -1), layer.bias)


def _padded(x: np.ndarray, padding: Pads, value: int) -> np.ndarray:
    return np.pad(x, ((0, 0), *padding, (0, 0)), constant_values=value)


def _windows(x: np.ndarray, window, stride, dilation) -> np.ndarray:
    """Returns shape ``(batch, rows, columns, channels, *window)``."""
    extent = [(n - 1) * d + 1 for n, d in zip(window, dilation, strict=True)]
    views = sliding_window_view(x, extent, (1, 2))
    return views[:, :: stride[0], :: stride[1], :, :: dilation[0], :: dilation[1]]


def _biased(sums: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    return sums if bias is None else sums + bias
