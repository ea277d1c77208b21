"""Staircases: where each layer's thresholds lie in the distribution of what enters it."""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from n2uq_jax.nn import ActivationQuantizer
from n2uq_jax.quantizers import effective_intervals, knots, thresholds
from n2uq_jax.report.style import (
    BLUE,
    INK,
    MUTED,
    SAND,
    TEXT_SIZE,
    TINTS,
    TITLE_SIZE,
    add_legend,
    new_figure,
    style_axes,
)

COLUMNS = 4
ROWS = 6
"""Panels on one page; a network with more quantizers gets several."""

CHANNELS_SHOWN = 12
"""Of a quantizer with thresholds per channel, so many staircases are drawn."""

BINS = 96

TITLE = "What each quantizer has learned, over what enters it"

TITLE_LENGTH = 34
"""Characters of a path that fit over a panel; the end says most."""


@dataclasses.dataclass(frozen=True)
class Staircase:
    """The steps of a quantizer over its input ``x``, in the input's own units.

    Args:
      edges: inputs at which the output changes, increasing, shape ``(N,)``.
      codes: how many thresholds are passed between them, shape ``(N + 1,)``; falling where the
        input scale is negative.
      levels: output values between them, shape ``(N + 1,)``.
    """

    edges: np.ndarray
    codes: np.ndarray
    levels: np.ndarray


def staircases(quantizer: ActivationQuantizer, *, uniform: bool = False) -> list[Staircase]:
    r"""Reads the staircases off a quantizer.

    The thresholds of :func:`n2uq_jax.quantizers.thresholds` lie at :math:`T_i / \beta_1` in units
    of the input.

    Args:
      quantizer: the layer.
      uniform: replace the learned intervals by equal ones over the same range
        :math:`[d_0, d_N]`, with the same output levels.

    Returns:
      One staircase, or one a channel. Where :math:`\beta_1 = 0` it has no edge.
    """
    n = 2**quantizer.bits - 1
    intervals = effective_intervals(quantizer.intervals[...].astype("float32"))
    start = quantizer.start[...].astype("float32")
    if uniform:
        d = knots(start, intervals)
        intervals = jnp.broadcast_to((d[-1] - d[0]) / n, intervals.shape)
    t = np.asarray(thresholds(start, intervals)).reshape(n, -1)
    in_scale = np.broadcast_to(np.asarray(quantizer.in_scale[...], np.float32), t.shape[1:])
    out_scale = float(quantizer.out_scale[...].reshape(()))
    codes = np.arange(n + 1)
    levels = out_scale * ((2 * codes - n) / n if quantizer.signed else 2 * codes / n)
    return [_staircase(t[:, c], float(in_scale[c]), codes, levels) for c in range(t.shape[1])]


def _staircase(t: np.ndarray, in_scale: float, codes: np.ndarray, levels: np.ndarray) -> Staircase:
    if in_scale == 0:
        always = [int((t < 0).sum())]
        return Staircase(np.zeros(0), codes[always], levels[always])
    order = slice(None) if in_scale > 0 else slice(None, None, -1)
    return Staircase((t / in_scale)[order], codes[order], levels[order])


def draw_staircases(
    quantizers: dict[str, ActivationQuantizer], inputs: dict[str, np.ndarray]
) -> list[Figure]:
    """Draws every quantizer over the histogram of its inputs.

    Args:
      quantizers: by path, as :func:`n2uq_jax.nn.quantizers` returns them.
      inputs: what entered each of them, arrays of any shape.

    Returns:
      One figure a page of up to 24 panels; none without quantizers.
    """
    paths = list(quantizers)
    pages = [paths[i : i + COLUMNS * ROWS] for i in range(0, len(paths), COLUMNS * ROWS)]
    return [_page({path: quantizers[path] for path in page}, inputs) for page in pages]


def distance_from_uniform(quantizer: ActivationQuantizer) -> float:
    r"""Measures how far the thresholds are from equally spaced ones over the same range.

    .. math:: \frac{1}{N} \sum_i \frac{|T_i - U_i|}{(d_N - d_0) / N}

    Args:
      quantizer: the layer.

    Returns:
      The mean over thresholds, and channels, in steps of the uniform staircase.
    """
    n = 2**quantizer.bits - 1
    intervals = np.asarray(effective_intervals(quantizer.intervals[...].astype("float32")))
    right = np.cumsum(intervals, 0)  # of each segment; where the first begins does not matter
    step = right[-1] / n
    uniform = np.multiply.outer(np.arange(n) + 0.5, step)
    return float(np.mean(np.abs(right - intervals / 2 - uniform) / step))


def _page(quantizers: dict[str, ActivationQuantizer], inputs: dict[str, np.ndarray]) -> Figure:
    columns = min(COLUMNS, len(quantizers))
    rows = -(-len(quantizers) // columns)
    figure = new_figure(max(3.1 * columns, 5.0), 2.35 * rows + 0.6)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for (path, quantizer), axes in zip(quantizers.items(), panels, strict=False):
        draw_panel(axes, quantizer, inputs.get(path, np.zeros(0)))
        axes.set_title(_short(path), loc="left", fontsize=TEXT_SIZE, color=INK)
        axes.set_title(f"{quantizer.bits} bit", loc="right", fontsize=TEXT_SIZE, color=MUTED)
        axes.text(
            *(0.98, 0.05),
            f"moved {distance_from_uniform(quantizer):.1%} of a step",
            transform=axes.transAxes,
            ha="right",
            fontsize=TEXT_SIZE,
            color=BLUE,
        )
    for axes in panels[len(quantizers) :]:
        axes.remove()
    figure.supxlabel("input x of the quantizer", fontsize=TITLE_SIZE, color=INK)
    figure.supylabel("output y", fontsize=TITLE_SIZE, color=INK)
    add_panel_legend(figure, "learned", TITLE)
    return figure


def add_panel_legend(figure: Figure, staircase: str, title: str) -> None:
    """Explains what :func:`draw_panel` draws, above all panels.

    Args:
      figure: with such panels.
      staircase: what the quantizer's own is called.
      title: of the figure.
    """
    add_legend(
        figure,
        [
            Line2D([], [], color=BLUE, lw=1.7, label=staircase),
            Line2D([], [], color=SAND, lw=5.5, label="uniform over the same range"),
            Patch(color=TINTS[1], label="histogram of x, tinted by code"),
            Line2D([], [], color=MUTED, marker="^", ms=5, lw=0, label="a bar goes on higher"),
        ],
        title,
    )


def _short(path: str) -> str:
    name = path.removesuffix("/input_quantizer")
    return name if len(name) <= TITLE_LENGTH else "…" + name[1 - TITLE_LENGTH :]


def draw_panel(axes: Axes, quantizer: ActivationQuantizer, inputs: np.ndarray) -> None:
    """Draws one quantizer: its staircase, the uniform one, and the histogram of its inputs.

    Args:
      axes: the panel.
      quantizer: the layer.
      inputs: what entered it, an array of any shape; may be empty.
    """
    style_axes(axes)
    x = np.asarray(inputs, np.float32).ravel()
    x = x[np.isfinite(x)]
    learned, even = staircases(quantizer), staircases(quantizer, uniform=True)
    low, high = _x_limits(x, learned)
    if len(learned) == 1:
        _draw_histogram(axes, x, learned[0], low, high)
        # A broad line under a thin one: both stay visible where they agree.
        _draw_steps(axes, even[0], low, high, color=SAND, lw=5.5)
        _draw_steps(axes, learned[0], low, high, color=BLUE, lw=1.7)
    else:
        _draw_histogram(axes, x, None, low, high)
        shown = np.unique(np.linspace(0, len(learned) - 1, CHANNELS_SHOWN).astype(int))
        for channel in shown:
            _draw_steps(axes, even[channel], low, high, color=SAND, lw=2.5, alpha=0.5)
        for channel in shown:
            _draw_steps(axes, learned[channel], low, high, color=BLUE, lw=0.9, alpha=0.7)
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    levels = np.unique(learned[0].levels)
    if levels.size <= 4:
        axes.set_yticks(levels, [f"{level:.2f}" for level in levels])


def _x_limits(x: np.ndarray, learned: Sequence[Staircase]) -> tuple[float, float]:
    """Spans the bulk of the inputs, and thresholds that do not lie far outside of it."""
    edges = np.concatenate([staircase.edges for staircase in learned])
    if x.size == 0:
        x = edges if edges.size else np.array([-1.0, 1.0])
    low, high = np.quantile(x, [0.001, 0.999])
    width = high - low
    if width == 0 and edges.size:
        width = edges.max() - edges.min() + np.abs(edges).max()
    near = edges[(edges > low - width) & (edges < high + width)]
    low, high = min([low, *near]), max([high, *near])
    margin = 0.06 * max(float(high - low), 1e-6)
    return float(low - margin), float(high + margin)


def _draw_histogram(
    axes: Axes, x: np.ndarray, staircase: Staircase | None, low: float, high: float
) -> None:
    """Fills the panel's lower part; bars are cut at the thresholds and tinted by code."""
    if x.size == 0:
        return
    density, bins = np.histogram(x, BINS, (low, high), density=True)
    behind = axes.twinx()
    behind.set_zorder(axes.get_zorder() - 1)
    axes.patch.set_visible(False)
    behind.axis("off")
    # One tall bin (zeros after a ReLU) must not flatten all others.
    top = max(float(np.quantile(density, 0.98)), 0.25 * float(density.max()))
    behind.set_ylim(0, 1.25 * top)
    cut = (bins[:-1] + bins[1:])[density > 1.25 * top] / 2
    behind.plot(cut, np.full(len(cut), 1.21 * top), "^", color=MUTED, ms=4, lw=0)
    edges = np.zeros(0) if staircase is None else staircase.edges
    codes = np.zeros(1, int) if staircase is None else staircase.codes
    ramp = LinearSegmentedColormap.from_list("codes", TINTS)
    cuts = np.unique(np.concatenate([bins, edges[(edges > low) & (edges < high)]]))
    centers = (cuts[:-1] + cuts[1:]) / 2
    code = codes[np.searchsorted(edges, centers)]
    height = density[np.clip(np.searchsorted(bins, centers) - 1, 0, BINS - 1)]
    span = max(int(codes.max()), 1)
    for value in np.unique(code):
        tint = ramp(value / span)
        mask = code == value
        behind.bar(cuts[:-1][mask], height[mask], np.diff(cuts)[mask], align="edge", color=tint)


def _draw_steps(axes: Axes, staircase: Staircase, low: float, high: float, **line) -> None:
    inside = np.clip(staircase.edges, low, high)
    axes.stairs(staircase.levels, [low, *inside, high], baseline=None, **line)
