import itertools

import numpy as np
import pytest

from n2uq_jax.export.formats.onnx.comparisons import Comparisons, count
from n2uq_jax.export.formats.onnx.graph import OnnxGraph
from n2uq_jax.export.thresholds.thresholds import Thresholds
from n2uq_jax.export.trace.ranges import Range
from tests.export.formats.onnx.nodes import run_nodes

LOW, HIGH = -400, 400
SUMS = np.arange(LOW, HIGH + 1, dtype=np.int32)


def made(kind, levels, spread, seed=0):
    """Thresholds of 6 channels; the last two have some that no sum reaches, and all pass."""
    rng = np.random.default_rng(seed)
    points = np.sort(rng.integers(-spread // 2, spread // 2, (6, levels)), 1)
    steps, base = np.ones((6, levels), np.int16), np.zeros(6, np.int16)
    if kind == "falling":
        steps, base = -steps, base + levels
    elif kind == "mixed":
        steps[::2], base[::2] = -1, levels
    elif kind == "both":
        steps[:, 1::2] = -1
    points[4, levels // 2 :] = HIGH
    points[5, : levels // 2 + 1] = LOW - 1
    return Thresholds(points.astype(np.int32), np.sort(points) * 0 + steps, base, levels)


def counted(comparisons, sums):
    graph = OnnxGraph(21)
    output = count(graph, "x", comparisons, 7, "codes")
    rows = np.resize(sums.astype(comparisons.dtype), (1, -(-len(sums) // 7) * 7))
    x = np.repeat(rows.reshape(1, -1, 7, 1), 6, axis=-1)
    return run_nodes(graph, output, x).reshape(-1, 6)[: len(sums)]


@pytest.mark.parametrize(
    ("kind", "levels"),
    [*itertools.product(["rising", "falling", "mixed", "both"], [1, 3, 15]), ("mixed", 255)],
)
def test_codes_count_thresholds_in_int32_and_in_bytes(kind, levels):
    thresholds = made(kind, levels, 250)
    expected = np.asarray(thresholds(SUMS[:, None].repeat(6, 1)))
    comparisons = Comparisons.of(thresholds)
    result = counted(comparisons, SUMS)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, expected)
    bias, in_bytes = comparisons.in_a_byte(Range.of(LOW, HIGH).over(6))
    for channel in range(6):
        ended = np.clip(SUMS + bias[channel], 0, 255)
        np.testing.assert_array_equal(counted(in_bytes, ended)[:, channel], expected[:, channel])


@pytest.mark.parametrize("kind", ["rising", "falling", "mixed"])
def test_falling_channels_rise_when_negated(kind):
    thresholds = made(kind, 3, 250)
    expected = np.asarray(thresholds(SUMS[:, None].repeat(6, 1)))
    comparisons = Comparisons.of(thresholds)
    negated = comparisons.of_negated(comparisons.signs)
    assert (negated.steps == 1).all()
    for channel, sign in enumerate(comparisons.signs):
        result = counted(negated, SUMS * sign)[:, channel]
        np.testing.assert_array_equal(result, expected[:, channel])


def test_numbers_may_lack_a_constant():
    comparisons = Comparisons.of(made("both", 3, 250))
    rest = np.arange(6) * 7
    expected = counted(comparisons, SUMS)
    for channel in range(6):
        moved = counted(comparisons.of_moved(rest), SUMS - rest[channel])
        np.testing.assert_array_equal(moved[:, channel], expected[:, channel])


@pytest.mark.parametrize(("span", "fits"), [(254, True), (255, False)])
def test_a_byte_decides_thresholds_that_span_less(span, fits):
    points = np.int32([[-100, -100 + span]])
    thresholds = Thresholds(points, np.ones_like(points, np.int16), np.zeros(1, np.int16), 2)
    moved = Comparisons.of(thresholds).in_a_byte(Range.of(LOW, HIGH).over(1))
    assert (moved is not None) == fits
