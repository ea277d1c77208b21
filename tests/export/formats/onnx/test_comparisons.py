import itertools

import numpy as np
import pytest

from n2uq_jax.export.formats.onnx.comparisons import Comparisons, add_codes, count
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


def test_integers_of_16_bits_are_compared_as_such():
    # Thresholds below all integers, above them, and at both ends.
    points = np.array([[-(2**20), -32768, -32767, 0, 32766, 32767, 2**20]] * 6)
    comparisons = Comparisons(points, np.ones((6, 7), int), np.zeros(6, int))
    held = Range.of(-32767, 32767).over(6)
    in_shorts = comparisons.in_shorts(held)
    assert in_shorts.dtype == np.int16
    sums = np.array([-32767, -32766, -1, 0, 1, 32766, 32767])
    np.testing.assert_array_equal(counted(in_shorts, sums), counted(comparisons, sums))
    assert comparisons.in_shorts(Range.of(-32768, 0).over(6)) is None
    assert comparisons.in_shorts(Range.of(0, 32768).over(6)) is None


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


def through_nodes(thresholds, sums, held, *, optimized=True):
    """Returns the codes of integers, and the operators that found them."""
    graph = OnnxGraph(21)
    rows = np.resize(sums, (1, -(-len(sums) // 7) * 7))
    x = np.repeat(rows.reshape(1, -1, 7, 1), 6, axis=-1).astype(np.int32)
    output = add_codes(graph, "x", Comparisons.of(thresholds), held, x.shape, "codes")
    codes = run_nodes(graph, output, x, optimized=optimized)
    assert codes.dtype == np.uint8
    return codes.reshape(-1, 6)[: len(sums)], {node.op_type for node in graph.nodes}


@pytest.mark.parametrize("kind", ["rising", "falling", "mixed", "both"])
def test_many_thresholds_are_tables(kind):
    thresholds = made(kind, 15, 700)
    expected = np.asarray(thresholds(SUMS[:, None].repeat(6, 1)))
    for optimized in (True, False):
        held = Range.of(LOW, HIGH).over(6)
        result, operators = through_nodes(thresholds, SUMS, held, optimized=optimized)
        assert "GatherElements" in operators
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(("low", "high"), [(-400, 400), (0, 400), (20, 90), (-90, -20)])
def test_channels_that_are_the_same_share_a_table(low, high):
    one = made("rising", 15, 700, seed=3)
    arrays = (np.repeat(array[:1], 6, axis=0) for array in (one.points, one.steps, one.base))
    thresholds = Thresholds(*arrays, 15)
    sums = np.arange(low, high + 1)
    result, operators = through_nodes(thresholds, sums, Range.of(low, high).over(6))
    assert "GatherElements" in operators
    assert "Clip" not in operators
    expected = np.asarray(thresholds(sums[:, None].repeat(6, 1).astype(np.int32)))
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(("levels", "spread"), [(3, 700), (15, 200_000)])
def test_few_thresholds_and_those_of_long_tables_are_comparisons(levels, spread):
    thresholds = made("rising", levels, spread)
    sums = np.linspace(-spread, spread, 999).astype(np.int32)
    sums = np.concatenate([sums, thresholds.points[0], thresholds.points[1] + 1])
    held = Range.of(int(sums.min()), int(sums.max())).over(6)
    result, operators = through_nodes(thresholds, sums, held)
    assert "GatherElements" not in operators
    expected = np.asarray(thresholds(sums[:, None].repeat(6, 1)))
    np.testing.assert_array_equal(result, expected)
