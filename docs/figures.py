"""Draws the pictures of the pages with the library's own functions: ``python docs/figures.py``."""

import itertools
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

import n2uq_jax as n2uq
from n2uq_jax.export import build_program
from n2uq_jax.report.staircase import add_panel_legend, draw_panel
from n2uq_jax.report.style import (
    BLUE,
    INK,
    MUTED,
    NEUTRAL,
    ORANGE,
    TEXT_SIZE,
    TINTS,
    TITLE_SIZE,
    add_legend,
    new_figure,
    save,
    style_axes,
)

IMAGES = Path(__file__).parent / "images"


def title(axes: Axes, text: str) -> None:
    """Puts a small title over a panel's left corner."""
    axes.set_title(text, loc="left", fontsize=TITLE_SIZE, color=INK)


def gste() -> Figure:
    """Draws a 2-bit quantizer, the curve whose gradient it gets, and that gradient."""
    start, intervals = jnp.float32(0.2), jnp.float32([0.3, 0.6, 1.1])
    one = jnp.ones(())

    def quantize(x: jax.Array) -> jax.Array:
        return n2uq.quantizers.quantize_activation(x, start, intervals, one, one).dequantize()

    x = jnp.linspace(-0.2, 2.6, 5601)
    y, pull = jax.vjp(quantize, x)
    (gradient,) = pull(jnp.ones_like(y))
    d = np.asarray(n2uq.quantizers.knots(start, intervals))
    t = np.asarray(n2uq.quantizers.thresholds(start, intervals))
    levels = 2 / 3 * np.arange(4)

    figure = new_figure(9.0, 3.4)
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        style_axes(axes)
        axes.set_xlabel("u = β₁x", fontsize=TEXT_SIZE, color=INK)
        axes.set_xlim(float(x[0]), float(x[-1]))
    left.plot([x[0], *d, x[-1]], [0, *levels, levels[-1]], color=ORANGE, lw=1.4)
    left.plot(d, levels, "o", color=ORANGE, ms=4.5)
    left.plot(x, y, color=BLUE, lw=1.8)
    for i, threshold in enumerate(t, 1):
        left.axvline(threshold, color=NEUTRAL, lw=0.8, ls=":")
        left.text(threshold + 0.03, -0.16, f"T{i}", fontsize=TEXT_SIZE, color=MUTED)
    for i, (knot, level) in enumerate(zip(d, levels, strict=True)):
        left.text(knot + 0.05, level - 0.1, f"d{i}", fontsize=TEXT_SIZE, color=ORANGE)
    left.set_yticks(levels, ["0", "2/3", "4/3", "2"])
    left.set_ylim(-0.24, 2.16)
    title(left, "output y, with β₂ = 1")
    right.plot(x, gradient, color=ORANGE, lw=1.8)
    for i, (a, b) in enumerate(itertools.pairwise(d), 1):
        right.text(
            (a + b) / 2, 2 / 3 / (b - a) + 0.06, f"(2/3) / a{i}",
            ha="center", fontsize=TEXT_SIZE, color=INK,
        )  # fmt: skip
    right.set_ylim(-0.1, 2.55)
    title(right, "gradient ∂y/∂u")
    add_legend(
        figure,
        [
            Line2D([], [], color=BLUE, lw=1.8, label="what is computed"),
            Line2D([], [], color=ORANGE, lw=1.4, label="what is differentiated (G-STE)"),
        ],
    )
    return figure


def weights() -> Figure:
    """Draws the levels of the weight quantizer over a bell-shaped channel."""
    kernel = jax.random.normal(jax.random.key(0), (100_000, 1))
    figure = new_figure(9.0, 3.0)
    for axes, bits in zip(figure.subplots(1, 3), (2, 3, 4), strict=True):
        q = n2uq.quantizers.quantize_weight(kernel, bits)
        n = 2**bits - 1
        codes, counts = np.unique(np.asarray(q.codes), return_counts=True)
        share = counts / counts.sum()
        entropy = -(share * np.log2(share)).sum()
        style_axes(axes)
        x = np.asarray(kernel)[:, 0]
        axes.hist(x, bins=90, range=(-4, 4), density=True, color=TINTS[0])
        axes.vlines(codes * float(q.scale[0]), 0, share, color=BLUE, lw=2.2)
        axes.plot(codes * float(q.scale[0]), share, "o", color=BLUE, ms=4)
        axes.set_ylim(0, 0.48)
        axes.set_xlabel("weight", fontsize=TEXT_SIZE, color=INK)
        title(axes, f"{bits} bit: the odd codes up to {n}")
        axes.text(
            0.98, 0.93, f"{entropy:.2f} bit of entropy", transform=axes.transAxes,
            ha="right", fontsize=TEXT_SIZE, color=MUTED,
        )  # fmt: skip
    add_legend(
        figure,
        [
            Patch(color=TINTS[0], label="density of the weights"),
            Line2D([], [], color=BLUE, marker="o", ms=4, lw=2.2, label="share of each level"),
        ],
    )
    return figure


class Chain(nnx.Module):
    """Two quantized layers, and between them all that export folds into thresholds.

    Args:
      gains: of BatchNorm, one a channel.
      slopes: of the PReLU, one a channel.
    """

    def __init__(self, gains: list[float], slopes: list[float]):
        rngs, channels = nnx.Rngs(0), len(gains)
        self.first = n2uq.nn.QuantLinear(64, channels, w_bits=2, a_bits=2, rngs=rngs)
        self.norm = n2uq.nn.BatchNorm(channels, rngs=rngs)
        self.act = n2uq.nn.RPReLU(channels, rngs=rngs)
        self.last = n2uq.nn.QuantLinear(channels, 1, w_bits=2, a_bits=2, rngs=rngs)
        self.norm.scale[...] = jnp.float32(gains)
        self.act.slope[...] = jnp.float32(slopes)
        self.act.bias_out[...] = jnp.full((channels,), -0.1)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Returns one number an image, shape ``(batch, 1, 1, 1)``."""
        return self.last(self.act(self.norm(self.first(images))))


def integer_thresholds() -> Figure:
    """Draws the codes of three channels over their integer sums, as export reads them off."""
    model = Chain(gains=[1.2, -1.2, 1.2], slopes=[0.25, 0.25, -0.8])
    model.eval()
    program = build_program(model, (1, 1, 64))
    sums = np.arange(-40, 41, dtype=np.int32)
    thresholds = program.thresholds["last/input_quantizer"]
    codes = np.asarray(thresholds(jnp.asarray(np.repeat(sums[:, None], 3, axis=1))))

    figure = new_figure(9.0, 2.9)
    titles = ("a positive gain", "a negative gain", "a negative PReLU slope")
    for c, axes in enumerate(figure.subplots(1, 3, sharey=True)):
        style_axes(axes)
        axes.plot(sums, codes[:, c], ".", color=BLUE, ms=4.5)
        changes = np.flatnonzero(np.diff(codes[:, c]))
        for i in changes:
            axes.axvline(sums[i] + 0.5, color=ORANGE, lw=1.0)
        axes.set_yticks(range(4))
        axes.set_xlabel("integer sum of the channel", fontsize=TEXT_SIZE, color=INK)
        title(axes, titles[c])
    add_legend(
        figure,
        [
            Line2D([], [], color=BLUE, marker=".", lw=0, label="code of the next quantizer"),
            Line2D([], [], color=ORANGE, lw=1.0, label="integer threshold"),
        ],
    )
    return figure


def calibration() -> Figure:
    """Draws a quantizer over skewed inputs, as it starts and as calibration sets it."""
    layer = n2uq.nn.QuantLinear(32, 16, w_bits=4, a_bits=2, rngs=nnx.Rngs(0))
    x = 0.1 * jnp.square(jax.random.normal(jax.random.key(0), (4000, 32)))
    figure = new_figure(9.0, 3.0)
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, state in ((left, "as it starts"), (right, "calibrated")):
        if state == "calibrated":
            n2uq.calibrate(layer, [x])
        draw_panel(axes, layer.input_quantizer, np.asarray(x))
        missed = x - layer.input_quantizer(x).dequantize()
        share = float(jnp.square(missed).mean() / jnp.square(x).mean())
        title(axes, f"{state}: squared error {share:.0%} of the input's")
    left.autoscale(axis="y")
    left.yaxis.set_major_locator(MaxNLocator(5))
    left.yaxis.set_major_formatter("{x:g}")
    left.set_xlim(*np.quantile(np.asarray(x), [0, 0.999]))
    figure.supylabel("output y", fontsize=TEXT_SIZE, color=INK)
    figure.supxlabel("input x of the quantizer", fontsize=TEXT_SIZE, color=INK)
    add_panel_legend(figure, "thresholds and levels", "Calibration of a 2-bit quantizer")
    return figure


FIGURES: dict[str, Callable[[], Figure]] = {
    "gste.png": gste,
    "weights.png": weights,
    "integer_thresholds.png": integer_thresholds,
    "calibration.png": calibration,
}
"""What draws each file in ``docs/images``; the others there come from a run's report."""

if __name__ == "__main__":
    for file, draw in FIGURES.items():
        print(f"wrote {save(draw(), IMAGES / file)}")
