"""The meaning of a layer list, in NumPy: what generated programs are compared with."""

import itertools

import jax.numpy as jnp
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from n2uq_jax.export.formats.c.layers import (
    Add,
    Arithmetic,
    Conv,
    Dense,
    FloatConv,
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
      images: uint8 or float32, shape ``(batch, *network.image_shape)``.

    Returns:
      Tensors by name, int64 or float32, shape ``(batch, height, width, channels)``.
    """
    found = {network.image: images}
    if not network.float_image:
        found[network.image] = images.astype(np.int64) - network.zero.astype(np.int64)
    for layer in network.layers:
        found[layer.output] = _compute(layer, found)
    return found


def _compute(layer: Layer, found: dict[str, np.ndarray]) -> np.ndarray:
    if isinstance(layer, Arithmetic):
        return _calculate(layer, [found[name] for name in layer.inputs])
    x = found[layer.input]
    match layer:
        case FloatConv():
            return _convolve_floats(layer, x)
        case Pool() if x.dtype == np.float32:
            return _pool_floats(layer, x)
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


def _convolve_floats(layer: FloatConv, x: np.ndarray) -> np.ndarray:
    height, width, inputs, features = layer.weight.shape
    windows = _windows(_padded(x, layer.padding, 0), (height, width), layer.stride, layer.dilation)
    channels = np.arange(features) // (features // layer.groups) * inputs
    sums = np.zeros((*windows.shape[:3], features), np.float32)
    for y, c, k in itertools.product(range(height), range(width), range(inputs)):
        sums += windows[:, :, :, channels + k, y, c] * layer.weight[y, c, k]
    return sums


def _pool_floats(layer: Pool, x: np.ndarray) -> np.ndarray:
    outside = -np.inf if layer.kind == "max" else 0
    windows = _windows(_padded(x, layer.padding, outside), layer.window, layer.stride, (1, 1))
    if layer.kind == "max":
        return windows.max((-2, -1))
    sums = np.zeros(windows.shape[:4], np.float32)
    for y, c in itertools.product(*map(range, layer.window)):
        sums += windows[..., y, c]
    return sums


def _calculate(layer: Arithmetic, read: list[np.ndarray]) -> np.ndarray:
    """Computes each operation by itself, so that nothing is rounded less than float32."""
    shape = read[0].shape
    values = [x.astype(np.float32) for x in read]
    values += [np.broadcast_to(constant, shape) for constant in layer.constants]
    for operation in layer.operations:
        operands = [jnp.asarray(values[k]) for k in operation.operands]
        values.append(np.asarray(operation.op(*operands)[0]))
    if layer.codes is None:
        return values[-1]
    low, high = layer.codes
    return np.clip(np.nan_to_num(values[-1], nan=low), low, high).astype(np.int64)


def _padded(x: np.ndarray, padding: Pads, value: float) -> np.ndarray:
    return np.pad(x, ((0, 0), *padding, (0, 0)), constant_values=value)


def _windows(x: np.ndarray, window, stride, dilation) -> np.ndarray:
    """Returns shape ``(batch, rows, columns, channels, *window)``."""
    extent = [(n - 1) * d + 1 for n, d in zip(window, dilation, strict=True)]
    views = sliding_window_view(x, extent, (1, 2))
    return views[:, :: stride[0], :: stride[1], :, :: dilation[0], :: dilation[1]]


def _biased(sums: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    return sums if bias is None else sums + bias
