"""Random small networks, of every kind of layer the C format has."""

import numpy as np
from hypothesis import strategies as st

from n2uq_jax.export.formats.c.layers import (
    Add,
    Conv,
    Dense,
    LayerList,
    Pool,
    PReLU,
    Rescale,
    Threshold,
)
from n2uq_jax.export.formats.c.tensors import tensors

CLASSES = 17


class Builder:
    """Adds layers with random numbers; every result is the last layer's."""

    def __init__(self, seed: int, image_shape: tuple[int, int, int], zero: bool):
        self.random = np.random.default_rng(seed)
        channels = image_shape[2]
        self.zero = self.random.integers(0, 256, channels) if zero else np.zeros(channels, int)
        self.image_shape = image_shape
        self.layers: list = []

    def name(self) -> str:
        return f"t{len(self.layers)}"

    def add(self, layer) -> str:
        self.layers.append(layer)
        return layer.output

    def found(self, name: str):
        return tensors(self.network(name))[name]

    def network(self, output: str) -> LayerList:
        zero = self.zero.astype(np.uint8)
        return LayerList("image", self.image_shape, zero, tuple(self.layers), output)

    def weight(self, shape, bits: int, odd: bool) -> np.ndarray:
        if odd:
            return (2 * self.random.integers(0, 2**bits, shape) - 2**bits + 1).astype(np.int8)
        low = -(2 ** (bits - 1))
        return self.random.integers(low, low + 2**bits, shape).astype(np.int8)

    def conv(self, x: str, features: int, kernel, *, bits=2, odd=True, groups=1, bias=False, **kw):
        inputs = self.found(x).shape[2] // groups
        weight = self.weight((*kernel, inputs, features), bits, odd)
        values = self.random.integers(-1000, 1000, features) if bias else None
        return self.add(Conv(x, self.name(), weight, groups=groups, bias=values, **kw))

    def dense(self, x: str, features: int, bits: int = 8) -> str:
        inputs = int(np.prod(self.found(x).shape))
        bias = self.random.integers(-1000, 1000, features)
        return self.add(Dense(x, self.name(), self.weight((inputs, features), bits, False), bias))

    def thresholds(self, x: str, levels: int, kind: str = "rising") -> str:
        found = self.found(x)
        channels = found.shape[2]
        # In the middle of the range, where sums of random numbers lie.
        middle, half = (found.low + found.high) // 2, (found.high - found.low) // 8 + 1
        points = np.sort(self.random.integers(middle - half, middle + half, (channels, levels)), 1)
        steps = np.ones((channels, levels), np.int16)
        base = np.zeros(channels, np.int16)
        if kind == "falling":
            falls = self.random.random(channels) < 0.5
            steps[falls], base[falls] = -1, levels
        elif kind == "both":
            # Up and down again: codes stay from 0 to levels.
            steps[:, 1::2] = -1
        return self.add(Threshold(x, self.name(), points.astype(np.int32), steps, base))

    def rescale(self, x: str, low: int = -3000, high: int = 3000) -> str:
        found = self.found(x)
        channels = found.shape[2]
        largest = max(abs(found.low), abs(found.high), 1)
        most = max(1, min(2**14, (2**30) // largest))
        multiplier = self.random.integers(-most, most + 1, channels)
        shift = self.random.integers(
            0, max(1, int(most * largest // 4096).bit_length()) + 1, channels
        )
        offset = self.random.integers(-(2**20), 2**20, channels)
        return self.add(Rescale(x, self.name(), multiplier, offset, shift, low, high))

    def prelu(self, x: str, low: int = -3000, high: int = 3000) -> str:
        channels = self.found(x).shape[2]
        numbers = self.random.integers
        before, after = numbers(-500, 500, channels), numbers(-500, 500, channels)
        multiplier, shift = numbers(-300, 300, channels), numbers(0, 12, channels)
        scaled = multiplier, numbers(-(2**20), 2**20, channels), shift
        return self.add(PReLU(x, self.name(), before, *scaled, after, low, high))

    def sum(self, x: str, other: str, low: int = -4000, high: int = 4000) -> str:
        return self.add(Add(x, other, self.name(), low, high))

    def pool(self, x: str, kind, window, stride=(1, 1), padding=((0, 0), (0, 0))) -> str:
        return self.add(Pool(x, self.name(), kind, window, stride, padding))

    def images(self, batch: int) -> np.ndarray:
        return self.random.integers(0, 256, (batch, *self.image_shape)).astype(np.uint8)


@st.composite
def networks(draw) -> tuple[Builder, LayerList]:
    """Several branches from the image to sums, which are added up: one difference shows."""

    def integers(low, high):
        return draw(st.integers(low, high))

    image_shape = (integers(3, 9), integers(3, 9), integers(1, 5))
    build = Builder(integers(0, 2**32 - 1), image_shape, draw(st.booleans()))
    total = None
    for _ in range(4):
        x = build.conv(
            "image",
            integers(1, 40),
            (integers(1, 3), integers(1, 3)),
            bits=draw(st.sampled_from([2, 4, 8])),
            odd=False,
            bias=draw(st.booleans()),
            stride=(integers(1, 2), integers(1, 2)),
            padding=((integers(0, 2), integers(0, 2)), (integers(0, 2), integers(0, 2))),
        )
        x = _hidden(draw, build, _codes(draw, build, x))
        logits = build.dense(_codes(draw, build, x), CLASSES, draw(st.sampled_from([3, 8])))
        total = logits if total is None else build.sum(total, logits, -(2**30), 2**30)
    assert total is not None
    return build, build.network(total)


def _codes(draw, build: Builder, x: str) -> str:
    kind = draw(st.sampled_from(["rising", "falling", "both"]))
    stream = build.rescale(x) if draw(st.booleans()) else x
    if stream != x and draw(st.booleans()):
        stream = build.prelu(stream)
    if draw(st.booleans()):
        # Signed integers may enter a product as well.
        return build.thresholds(stream, draw(st.sampled_from([1, 3, 3, 7, 15, 255])), kind)
    return build.rescale(stream, *draw(st.sampled_from([(-127, 127), (-2000, 2000), (0, 255)])))


def _hidden(draw, build: Builder, x: str) -> str:
    height, width, channels = build.found(x).shape
    shape = draw(st.sampled_from(["plain", "plain", "grouped", "depthwise", "pool", "residual"]))
    if shape == "pool":
        window = (min(height, 3), min(width, 2))
        padding = tuple((draw(st.integers(0, n - 1)), draw(st.integers(0, n - 1))) for n in window)
        return build.pool(x, draw(st.sampled_from(["max", "sum"])), window, (2, 1), padding)
    if shape == "residual":
        y = build.conv(x, channels, (3, 3), padding=((1, 1), (1, 1)))
        stream = build.rescale(x)
        return build.prelu(build.sum(stream, build.rescale(y)))
    dilation = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
    common = {
        "bits": draw(st.sampled_from([1, 2, 2, 3, 4, 5, 6, 7])),
        "odd": draw(st.booleans()),
        "stride": (draw(st.integers(1, 2)), draw(st.integers(1, 3))),
        "padding": ((2, draw(st.integers(2, 3))), (draw(st.integers(2, 4)), 2)),
        "dilation": dilation,
        "bias": draw(st.booleans()),
    }
    kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    if shape == "depthwise":
        return build.conv(x, channels, kernel, groups=channels, **common)
    groups = 1
    if shape == "grouped":
        groups = draw(st.sampled_from([g for g in (2, 3, 4, 5, 1) if channels % g == 0]))
    return build.conv(
        x, groups * draw(st.integers(1, 36 // groups)), kernel, groups=groups, **common
    )
