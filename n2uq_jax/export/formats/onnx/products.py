"""Products of codes with integer weights, as ONNX Runtime multiplies bytes.

Every one is exact, on every processor. x86 without VNNI adds pairs of products of unsigned and
signed bytes in 16 bits that saturate; where two products could leave these, weights are unsigned
bytes around 128, whose products runtimes add in 32 bits everywhere.
"""

import numpy as np
from onnx import TensorProto

from n2uq_jax.export.formats.onnx.graph import OnnxGraph, row_length
from n2uq_jax.export.formats.onnx.weights import add_weights
from n2uq_jax.export.formats.onnx.window import Codes, Window
from n2uq_jax.export.trace.products import Product
from n2uq_jax.export.trace.ranges import Range

_SATURATION = 2**15 - 1

_EXACT = 2**24
"""Sums of integers up to this are exact in float32, in whatever order they are added."""

_ZERO = 128
"""Stands for the weight 0 in unsigned bytes."""

_FEW_CHANNELS = 16
"""Below, gathering patches pixel by pixel takes longer than products of unsigned bytes."""


def add_product(
    graph: OnnxGraph, x: Codes, weight: np.ndarray, product: Product
) -> tuple[str, np.ndarray]:
    """Adds the nodes of a product with sums of 32 bits.

    A matrix product is a MatMulInteger. So is a convolution, of patches that a Gather collects.
    Where channels, or those of a group, are few, it is a Conv on float32 if that is exact, and else
    a ConvInteger, which ONNX Runtime has fast kernels for with unsigned weights alone.

    Args:
      graph: to add to.
      x: what is multiplied.
      weight: integers, output channels last.
      product: the convolution or matrix product.

    Returns:
      The name of an int32 tensor, channels last, and what is to be added to each channel of it.
    """
    if product.bilinear.name == "dot_general":
        weight = weight.reshape(-1, weight.shape[-1])
        window = None
    else:
        window = Window.of(product, x, weight)
        crops = any(pad < 0 for pads in window.padding for pad in pads)
        few = (window.groups > 1 or x.shape[-1] < _FEW_CHANNELS) and not crops
        magnitudes = np.abs(weight.astype(int)).sum(tuple(range(weight.ndim - 1)))
        if few and x.range.largest * int(magnitudes.max()) <= _EXACT:
            sums = _conv_float(graph, x, weight, window, product.name)
            return sums, np.zeros(weight.shape[-1], np.int32)
    fits = x.range.union(Range.of(0, 0)) if product.pads else x.range
    fits = fits.over(x.shape[-1])
    if weight.dtype != np.int8 or int((fits.high - fits.low).max()) > 255:
        sums = _add_wide(graph, x, weight, window, product)
        return sums, np.zeros(weight.shape[-1], np.int32)
    bytes_, low, high = _unsigned(graph, x, fits, window)
    groups = 1 if window is None else window.groups
    signed = 2 * int((high - low).max()) * int(np.abs(weight.astype(int)).max()) <= _SATURATION
    if window is None:
        sums = _matmul(graph, bytes_, weight, signed, product.name)
    elif groups == 1 and x.shape[-1] >= _FEW_CHANNELS:
        patches = window.patches(graph, bytes_)
        sums = _matmul(graph, patches, weight.reshape(-1, weight.shape[-1]), signed, product.name)
    else:
        sums = _conv_integer(graph, bytes_, weight, window, product.name)
    return sums, _sums_of(weight, low, groups)


def add_saturating(
    graph: OnnxGraph, x: str, weight: np.ndarray, bias: np.ndarray, product: Product
) -> str:
    r"""Adds a convolution whose sums end at the ends of a byte: a QLinearConv with scales of 1.

    .. math:: y = \operatorname{clamp}(\sum x\,w + b_c, 0, 255)

    ONNX Runtime converts sums to float32 on the way, where integers are exact up to
    :math:`2^{24}`; beyond that they round, and end at 0 or 255 all the same.

    Args:
      graph: to add to.
      x: name of a uint8 tensor, channels last.
      weight: int8, shape ``(*window, in / groups, out)``; see :func:`can_saturate`.
      bias: int32, shape ``(out,)``.
      product: the convolution.

    Returns:
      The name of a uint8 tensor, channels last.
    """
    rank, channels = len(product.accumulator.shape), weight.shape[-1]
    params = product.bilinear.params
    before, after = zip(*params["padding"], strict=True)
    one, zero = graph.constant(np.float32(1)), graph.constant(np.uint8(0))
    kernel = np.moveaxis(weight, (-1, -2), (0, 1))
    result = graph.node(
        "QLinearConv",
        [
            graph.channels_first(x, rank),
            one,
            zero,
            add_weights(graph, kernel, product.name),
            graph.constant(np.ones(channels, np.float32)),
            graph.constant(np.zeros(channels, np.int8)),
            one,
            zero,
            graph.constant(bias.astype(np.int32)),
        ],
        hint=product.name,
        strides=list(params["window_strides"]),
        dilations=list(params["rhs_dilation"]),
        pads=[*before, *after],
        group=params["feature_group_count"],
    )
    return graph.channels_last(result, rank)


def can_saturate(x: Codes, weight: np.ndarray, product: Product) -> bool:
    """Whether :func:`add_saturating` takes a product.

    Args:
      x: what is multiplied.
      weight: integers.
      product: the product.
    """
    if product.bilinear.name != "conv_general_dilated" or weight.dtype != np.int8:
        return False
    transposed = any(d != 1 for d in product.bilinear.params["lhs_dilation"])
    largest = x.range.largest * int(np.abs(weight.astype(int)).max())
    return x.kind == TensorProto.UINT8 and not transposed and 2 * largest <= _SATURATION


def _unsigned(graph: OnnxGraph, x: Codes, fits: Range, window: Window | None):
    """Moves integers to bytes from 0 on, pads them, and returns what was subtracted."""
    if x.kind == TensorProto.UINT8:
        name = x.name if window is None else window.padded(graph, x.name)
        return name, np.zeros_like(fits.low), fits.high
    name = x.name if x.kind == TensorProto.INT32 else graph.cast(x.name, TensorProto.INT32)
    name = name if window is None else window.padded(graph, name)
    width = row_length(x.shape) if window is None else window.size[-1]
    moved = graph.node("Sub", [name, graph.row(fits.low.astype(np.int32), width)])
    return graph.cast(moved, TensorProto.UINT8), fits.low, fits.high


def _sums_of(weight: np.ndarray, low: np.ndarray, groups: int) -> np.ndarray:
    """Returns the sums of products of each output channel's weights with a number a channel."""
    inside, out = weight.shape[-2:]
    taps = weight.astype(np.int64).reshape(-1, inside, groups, out // groups).sum(0)
    by_group = low.reshape(groups, inside)
    return np.einsum("igo,gi->go", taps, by_group).reshape(-1).astype(np.int32)


def _matmul(graph: OnnxGraph, x: str, weight: np.ndarray, signed: bool, hint: str) -> str:
    if signed:
        return graph.node("MatMulInteger", [x, add_weights(graph, weight, hint)], hint=hint)
    zeros = (graph.constant(np.uint8(zero)) for zero in (0, _ZERO))
    kernel = add_weights(graph, _around_zero(weight), hint)
    return graph.node("MatMulInteger", [x, kernel, *zeros], hint=hint)


def _conv_float(graph: OnnxGraph, x: Codes, weight: np.ndarray, window: Window, hint: str) -> str:
    """Multiplies in float32, whose sums are then int32."""
    rank = len(window.kernel) + 2
    before, after = zip(*window.padding, strict=True)
    kernel = add_weights(graph, np.moveaxis(weight, (-1, -2), (0, 1)), hint)
    sums = graph.node(
        "Conv",
        [
            graph.channels_first(graph.cast(x.name, TensorProto.FLOAT), rank),
            graph.cast(kernel, TensorProto.FLOAT),
        ],
        hint=hint,
        strides=list(window.strides),
        dilations=list(window.dilation),
        pads=[*before, *after],
        group=window.groups,
    )
    sums = graph.channels_last(sums, rank)
    return graph.cast_exact(sums, TensorProto.INT32, TensorProto.FLOAT)


def _conv_integer(graph: OnnxGraph, x: str, weight: np.ndarray, window: Window, hint: str) -> str:
    rank = len(window.kernel) + 2
    kernel = np.moveaxis(_around_zero(weight), (-1, -2), (0, 1))
    zeros = (graph.constant(np.uint8(zero)) for zero in (0, _ZERO))
    sums = graph.node(
        "ConvInteger",
        [graph.channels_first(x, rank), add_weights(graph, kernel, hint), *zeros],
        hint=hint,
        strides=list(window.strides),
        dilations=list(window.dilation),
        group=window.groups,
    )
    return graph.channels_last(sums, rank)


def _around_zero(weight: np.ndarray) -> np.ndarray:
    return (weight.astype(int) + _ZERO).astype(np.uint8)


def _add_wide(
    graph: OnnxGraph, x: Codes, weight: np.ndarray, window: Window | None, product: Product
) -> str:
    """Multiplies integers that are no bytes, in int32."""
    name = x.name if x.kind == TensorProto.INT32 else graph.cast(x.name, TensorProto.INT32)
    if window is None:
        return graph.node("MatMul", [name, graph.constant(weight.astype(np.int32), product.name)])
    taps = weight.astype(np.int32).reshape(-1, *weight.shape[-2:])  # (taps, in / groups, out)
    patches = window.patches(graph, window.padded(graph, name))
    if window.groups == 1:
        kernel = graph.constant(taps.reshape(-1, taps.shape[-1]), product.name)
        return graph.node("MatMul", [patches, kernel])
    # One group after another, each with its channels of every tap.
    inside, outside = taps.shape[1], taps.shape[2] // window.groups
    shape = (-1, *window.out, len(taps), window.channels)
    by_tap = graph.reshape(patches, shape)
    results = []
    for g in range(window.groups):
        start = [0] * (len(shape) - 1) + [g * inside]
        part = graph.slice(by_tap, start, [*shape[:-1], (g + 1) * inside], None, shape)
        matrix = taps[..., g * outside : (g + 1) * outside].reshape(-1, outside)
        flat = graph.reshape(part, (-1, *window.out, len(taps) * inside))
        results.append(graph.node("MatMul", [flat, graph.constant(matrix, product.name)]))
    return graph.node("Concat", results, axis=-1)
