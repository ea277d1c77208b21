"""The pictures show what the text says of them."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def figures():
    return runpy.run_path(str(DOCS / "figures.py"))["FIGURES"]


def test_every_picture_is_drawn_and_used(figures):
    pages = [*DOCS.glob("*.md"), DOCS.parent / "README.md"]
    used = {name for page in pages for name in re.findall(r"images/(\w+\.png)\)", page.read_text())}
    there = {path.name for path in (DOCS / "images").iterdir()}
    assert set(figures) <= used
    assert used == there


@pytest.mark.slow
def test_the_gradient_is_that_of_the_curve_through_the_knots(figures):
    left, right = figures["gste.png"]().axes
    curve, knots, staircase = (line.get_xydata() for line in left.lines[:3])
    np.testing.assert_allclose(curve[1:-1], knots)
    x, y = staircase.T
    np.testing.assert_allclose(np.unique(y), knots[:, 1], rtol=1e-6)
    # Each step lies where the curve is halfway between two levels.
    steps = x[1:][np.diff(y) > 0]
    middle = (knots[1:, 1] + knots[:-1, 1]) / 2
    np.testing.assert_allclose(np.interp(steps, *knots.T), middle, atol=2e-3)
    x, slope = right.lines[0].get_xydata().T
    inside = (x > knots[0, 0] + 1e-3) & (x < knots[1, 0] - 1e-3)
    np.testing.assert_allclose(
        slope[inside], (knots[1, 1] - knots[0, 1]) / (knots[1, 0] - knots[0, 0]), rtol=1e-5
    )
    assert not slope[(x < knots[0, 0]) | (x > knots[-1, 0] + 1e-3)].any()


def test_channels_rise_fall_and_do_both(figures):
    rising, falling, both = (
        np.diff(axes.lines[0].get_ydata()) for axes in figures["integer_thresholds.png"]().axes
    )
    assert rising.min() == 0
    assert rising.sum() == 3
    assert falling.max() == 0
    assert falling.sum() == -3
    assert both.min() < 0 < both.max()


def test_levels_carry_nearly_all_the_bits(figures):
    for bits, axes in zip((2, 3, 4), figures["weights.png"]().axes, strict=True):
        entropy = float(axes.texts[0].get_text().split()[0])
        assert bits - 0.06 < entropy <= bits


@pytest.mark.slow
def test_calibration_moves_thresholds_into_the_data(figures):
    left, right = figures["calibration.png"]().axes[:2]
    assert left.get_xlim() == right.get_xlim()
    assert left.get_ylim() == right.get_ylim()
    first, last = (axes.patches[-1].get_data().edges[1] for axes in (left, right))
    assert last < 0.5 * first  # the first threshold of the learned staircase
    before, after = (
        int(re.findall(r"(\d+)% of the input", axes.get_title(loc="left"))[0])
        for axes in (left, right)
    )
    assert after < 0.5 * before
