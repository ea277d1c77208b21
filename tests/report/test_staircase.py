import jax.numpy as jnp
import matplotlib.patches
import numpy as np
import pytest

from n2uq_jax.nn import ActivationQuantizer
from n2uq_jax.report.staircase import distance_from_uniform, draw_staircases, staircases


def quantizer(bits=2, signed=False, channels=None, **parameters):
    q = ActivationQuantizer(bits, signed=signed, channels=channels)
    for name, value in parameters.items():
        getattr(q, name).set_value(jnp.asarray(value, jnp.float32))
    return q


def test_thresholds_lie_in_units_of_the_input():
    q = quantizer(start=1.0, intervals=[0.5, 1.0, 2.0], in_scale=2.0, out_scale=3.0)
    (s,) = staircases(q)
    np.testing.assert_array_equal(s.edges, [0.625, 1.0, 1.75])
    np.testing.assert_array_equal(s.codes, [0, 1, 2, 3])
    np.testing.assert_array_equal(s.levels, [0, 2, 4, 6])


def test_the_uniform_one_has_the_same_range_and_levels():
    q = quantizer(start=1.0, intervals=[0.5, 1.0, 1.5], out_scale=3.0)
    (s,) = staircases(q, uniform=True)
    np.testing.assert_array_equal(s.edges, [1.5, 2.5, 3.5])
    np.testing.assert_array_equal(s.levels, [0, 2, 4, 6])


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("in_scale", [0.7, -0.7, 0.0])
def test_the_staircase_is_the_quantizer(in_scale, signed):
    rng = np.random.default_rng(0)
    intervals = rng.uniform(-0.1, 0.6, 7)
    q = quantizer(3, signed, start=-0.5, intervals=intervals, in_scale=in_scale, out_scale=1.7)
    (s,) = staircases(q)
    x = np.linspace(-4, 4, 1001, dtype=np.float32)
    want = q(jnp.asarray(x)).dequantize()
    np.testing.assert_allclose(s.levels[np.searchsorted(s.edges, x)], want, rtol=1e-6, atol=1e-6)


def test_one_staircase_a_channel():
    q = quantizer(1, channels=2, start=[0, 1], intervals=[[2, 4]], in_scale=[1, -2])
    first, second = staircases(q)
    np.testing.assert_array_equal(first.edges, [1])
    np.testing.assert_array_equal(second.edges, [-1.5])
    np.testing.assert_array_equal(second.codes, [1, 0])


def steps(axes):
    patches = [p for p in axes.patches if isinstance(p, matplotlib.patches.StepPatch)]
    return [p.get_data() for p in patches]


def panels(figure):
    return [axes for axes in figure.axes if axes.get_title(loc="left")]


def test_what_a_panel_shows():
    q = quantizer(intervals=[0.5, 0.5, 2.0])
    x = np.linspace(-1, 4, 10_000)
    (figure,) = draw_staircases(
        {"block/conv/input_quantizer": q}, {"block/conv/input_quantizer": x}
    )
    (axes,) = panels(figure)
    assert axes.get_title(loc="left") == "block/conv"
    assert axes.get_title(loc="right") == "2 bit"
    assert axes.texts[0].get_text() == "moved 50.0% of a step"
    uniform, learned = steps(axes)
    np.testing.assert_allclose(learned.edges[1:-1], [0.25, 0.75, 2.0], rtol=1e-6)
    np.testing.assert_allclose(uniform.edges[1:-1], [0.5, 1.5, 2.5], rtol=1e-6)
    np.testing.assert_allclose(learned.values, [0, 2 / 3, 4 / 3, 2], rtol=1e-6)
    low, high = axes.get_xlim()
    assert -1.5 < low < -0.9 < 3.9 < high < 4.5
    (behind,) = [other for other in figure.axes if other is not axes]
    bars = [(b.get_x(), b.get_width(), b.get_height(), b.get_facecolor()) for b in behind.patches]
    assert len({color for *_, color in bars}) == 4
    np.testing.assert_allclose(sum(w * h for _, w, h, _ in bars), 1, rtol=0.01)
    dark = max(bars, key=lambda bar: bar[0])[3]
    np.testing.assert_allclose(min(x for x, *_, color in bars if color == dark), 2.0, rtol=1e-6)


def test_the_distance_from_uniform_is_in_steps():
    assert distance_from_uniform(quantizer(start=0.7, in_scale=3.0)) == pytest.approx(0, abs=1e-6)
    # Thresholds at 0.25, 0.75 and 2 of a range of 3, in place of 0.5, 1.5 and 2.5.
    moved = distance_from_uniform(quantizer(intervals=[0.5, 0.5, 2.0]))
    assert moved == pytest.approx((0.25 + 0.75 + 0.5) / 3)
    channels = quantizer(channels=2, intervals=[[0.5, 1], [0.5, 1], [2, 1]])
    assert distance_from_uniform(channels) == pytest.approx(moved / 2)


def test_bars_that_are_cut_are_marked():
    x = np.concatenate([np.zeros(5000), np.linspace(0, 3, 5000)])
    (figure,) = draw_staircases({"q": quantizer()}, {"q": x})
    (behind,) = [other for other in figure.axes if not other.get_title(loc="left")]
    (marks,) = behind.lines
    assert len(marks.get_xdata()) == 1
    assert abs(marks.get_xdata()[0]) < 0.1
    assert marks.get_ydata()[0] < behind.get_ylim()[1]


def test_inputs_may_be_missing_constant_or_infinite():
    q = quantizer()
    inputs = {"const": np.zeros(9), "infinite": np.array([np.inf, np.nan, -np.inf])}
    (figure,) = draw_staircases(dict.fromkeys(("none", "const", "infinite"), q), inputs)
    for axes in panels(figure):
        learned = steps(axes)[1]
        np.testing.assert_allclose(learned.edges[1:-1], [1 / 3, 1, 5 / 3], rtol=1e-5)
        assert np.isfinite(axes.get_xlim()).all()


def test_many_channels_show_a_few():
    q = quantizer(channels=40, start=np.linspace(-1, 0, 40))
    (figure,) = draw_staircases({"q": q}, {"q": np.zeros((5, 40))})
    assert len(steps(panels(figure)[0])) == 2 * 12


@pytest.mark.slow
def test_pages_hold_24_panels_and_long_paths_are_cut():
    q = quantizer(1)
    names = [f"a/rather/long/path/to/block/number/{i:02d}/conv/input_quantizer" for i in range(26)]
    pages = draw_staircases(dict.fromkeys(names, q), {})
    assert [len(panels(page)) for page in pages] == [24, 2]
    title = panels(pages[1])[-1].get_title(loc="left")
    assert title.startswith("…")
    assert title.endswith("/number/25/conv")
    assert draw_staircases({}, {}) == []
