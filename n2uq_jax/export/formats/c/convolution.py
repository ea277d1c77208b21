"""The constants of one convolution in generated C: its shape, its weights, and where inputs lie."""

import dataclasses

import numpy as np

from n2uq_jax.export.formats.c.constants import Constants, struct
from n2uq_jax.export.formats.c.layers import Conv, Dense
from n2uq_jax.export.formats.c.plan import Stored
from n2uq_jax.export.formats.c.weights import LANES, Numbers, bit_planes, blocks_of, numbers_of


def as_conv(layer: Conv | Dense, shape: tuple[int, int, int]) -> Conv:
    """Returns a dense layer as the convolution with a window as large as its input.

    Args:
      layer: a convolution stays as it is.
      shape: of its input.
    """
    if isinstance(layer, Conv):
        return layer
    weight = layer.weight.reshape(*shape, -1)
    return Conv(layer.input, layer.output, weight, bias=layer.bias)


def define_convolution(
    constants: Constants,
    layer: Conv,
    shape: tuple[int, int, int],
    source: Stored,
    reference: str,
    image_zero: np.ndarray | None,
) -> str:
    """Defines a ``convolution`` of ``kernels/network.h``.

    Args:
      constants: to add to.
      layer: the convolution.
      shape: of its sums.
      source: its input.
      reference: to the input's tensor, in C.
      image_zero: what is subtracted from the input, if that is the image; else None.

    Returns:
      The structure's name.

    Raises:
      ValueError: if the inputs are wider than 16 bits.
    """
    is_image = image_zero is not None
    low, high = min(source.tensor.low, 0), max(source.tensor.high, 1)
    if source.element == "I32":
        raise ValueError(
            f"{layer.output!r} reads integers from {low} to {high}; products take 16 bits."
        )
    zero = _zero(source, image_zero, low)
    numbers = numbers_of(layer.weight)
    lookups = not is_image and low == 0 and high <= 3 and numbers.bits <= 2
    layout = _layout(layer, shape, source, numbers, lookups)
    packed = bit_planes(blocks_of(_in_runs(layer.weight, layout, numbers)), numbers)
    words = np.frombuffer(packed + bytes(-len(packed) % 8), "<u8")
    fields: dict[str, object] = {
        "input": reference,
        "out_height": shape[0],
        "out_width": shape[1],
        "out_channels": layer.weight.shape[3],
        "groups": layer.groups,
        "stride_y": layer.stride[0],
        "stride_x": layer.stride[1],
        "pad_top": layer.padding[0][0],
        "pad_left": layer.padding[1][0],
        "padded_height": layout.padded[0],
        "padded_width": layout.padded[1],
        "pitch": layout.pitch,
        "taps": len(layout.offsets),
        "run": layout.run,
        "tap_offsets": constants.integers("tap_offsets", np.array(layout.offsets)),
        "weights": constants.array("weights", "uint64_t", (f"0x{w:x}u" for w in words.tolist())),
        "bits": numbers.bits,
        "first": numbers.first,
        "step": numbers.step,
        "largest_input": max(-low, high),
        "largest_byte": high if low == 0 else 255 if is_image else high - low,
        "largest_weight": max(1, int(np.abs(layer.weight.astype(int)).max())),
        "depthwise": int(layout.depthwise),
    }
    grouped = layout.groups > 1
    if zero is not None:
        fields["zero"] = constants.array("zero", "uint8_t", map(str, zero.tolist()))
        sums = _zero_sums(layer, zero)
        fields["correction"] = constants.per_channel("correction", sums, grouped)
    if layer.bias is not None:
        fields["bias"] = constants.per_channel("bias", layer.bias.astype(np.int64), grouped)
    return constants.define("convolution", struct(**fields))


@dataclasses.dataclass(frozen=True)
class _Layout:
    """How the padded inputs lie, and which of them an output pixel reads.

    Args:
      depthwise: whether each channel has its own taps.
      groups: of products; 1 where it is depthwise.
      pitch: elements of one pixel and group.
      run: elements that are read one after another.
      columns: runs in a row of the window.
      padded: height and width that are read.
      offsets: elements from an output pixel's first input to each run.
    """

    depthwise: bool
    groups: int
    pitch: int
    run: int
    columns: int
    padded: tuple[int, int]
    offsets: list[int]


def _layout(layer: Conv, shape, source: Stored, numbers: Numbers, lookups: bool) -> _Layout:
    channels = source.tensor.shape[2]
    kernel_height, kernel_width, inputs, features = layer.weight.shape
    depthwise = layer.groups == channels == features and channels > 1
    groups = 1 if depthwise else layer.groups
    # Long runs are faster. What fills a pixel up would meet weights: it takes one that is 0.
    filled = inputs % 4 == 0 or numbers.step == 1
    fold = layer.dilation[1] == 1 and groups == 1 and not depthwise and filled
    if depthwise:
        pitch = -(-channels // LANES) * LANES
    elif fold and not lookups:
        pitch = inputs
    else:
        pitch = -(-inputs // 4) * 4
    run = -(-(kernel_width * pitch if fold else pitch) // 4) * 4
    height, width = (
        (n - 1) * stride + (k - 1) * dilation + 1
        for n, k, stride, dilation in zip(
            shape[:2], (kernel_height, kernel_width), layer.stride, layer.dilation, strict=True
        )
    )
    columns = [0] if fold else [x * layer.dilation[1] for x in range(kernel_width)]
    offsets = [
        (y * layer.dilation[0] * width + x) * groups * pitch
        for y in range(kernel_height)
        for x in columns
    ]
    return _Layout(depthwise, groups, pitch, run, len(columns), (height, width), offsets)


def _in_runs(weight: np.ndarray, layout: _Layout, numbers: Numbers) -> np.ndarray:
    """Returns weight numbers, shape ``(groups, inputs, features)``, in the order of the runs."""
    integers = weight.astype(int)
    height, _, inputs, features = integers.shape
    # Inputs of no channel are 0, and so may meet any weight; in a folded run they are the next
    # pixel's, and there weight 0 has a number.
    filling = numbers.zero or 0
    m = (integers - numbers.first) // numbers.step
    if layout.depthwise:
        m = m.reshape(1, -1, features)
        return np.pad(m, ((0, 0), (0, -m.shape[1] % 4), (0, 0)))
    more = layout.pitch - inputs
    m = np.pad(m, ((0, 0), (0, 0), (0, more), (0, 0)), constant_values=filling)
    m = m.reshape(height * layout.columns, -1, features)
    m = np.pad(m, ((0, 0), (0, layout.run - m.shape[1]), (0, 0)), constant_values=filling)
    m = m.reshape(-1, layout.groups, features // layout.groups)
    return m.swapaxes(0, 1)


def _zero(source: Stored, image_zero: np.ndarray | None, low: int) -> np.ndarray | None:
    if image_zero is not None:
        return image_zero.astype(np.int64) if image_zero.any() else None
    if source.element == "I16" and 0 > low >= -255:
        return np.full(source.tensor.shape[2], -low)
    return None


def _zero_sums(layer: Conv, zero: np.ndarray) -> np.ndarray:
    """Sums of weights times the zeros that stand in their inputs."""
    weight = layer.weight.astype(np.int64)
    inputs, features = weight.shape[2:]
    each = features // layer.groups
    group = np.arange(features) // each
    channels = group[None, :] * inputs + np.arange(inputs)[:, None]
    return (weight * zero[channels]).sum((0, 1, 2))
