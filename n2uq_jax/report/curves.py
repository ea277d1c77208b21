"""Training curves: loss and accuracy over the epochs of every stage."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from n2uq_jax.report.style import (
    BLUE,
    INK,
    MUTED,
    ORANGE,
    TEXT_SIZE,
    TITLE_SIZE,
    add_legend,
    new_figure,
    style_axes,
)
from n2uq_jax.workdir.metrics import read_metrics

Curve = dict[str, np.ndarray]
"""The columns of one stage and kind, and step, ordered by step."""

PALE = 0.25
"""Opacity of single measurements under their running mean."""

COLUMNS = ("epoch", "loss", "top1", "top5")


def read_curves(path: str | os.PathLike[str]) -> dict[str, dict[str, Curve]]:
    """Reads a run's metrics.

    A run that was resumed repeats steps; their last line counts.

    Args:
      path: a ``metrics.jsonl``, whose lines have stage, kind (``"train"`` or ``"eval"``), step
        (within the stage), epoch, loss, top1 and top5.

    Returns:
      For each stage, in the order of the file, a curve by kind; NaN for what a line has not, or
      was not finite.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if a line is damaged; the message names it.
    """
    rows: dict[str, dict[str, dict[int, Any]]] = {}
    for row in read_metrics(path):
        # A number that was not finite is stored as null.
        values = [np.nan if row.get(name) is None else row[name] for name in COLUMNS]
        rows.setdefault(row["stage"], {}).setdefault(row["kind"], {})[row["step"]] = values
    return {
        stage: {kind: _curve(steps) for kind, steps in kinds.items()}
        for stage, kinds in rows.items()
    }


def _curve(steps: dict[int, list[float]]) -> Curve:
    table = np.array([[step, *values] for step, values in sorted(steps.items())])
    return dict(zip(("step", *COLUMNS), table.T, strict=True))


def draw_curves(
    metrics: dict[str, dict[str, Curve]],
    *,
    title: str = "",
    teachers: Mapping[str, str] | None = None,
) -> Figure:
    """Draws loss and top-1 accuracy, one column a stage.

    Training values are drawn faintly with their running mean on top, evaluations with a dot each.
    The losses of two stages may be of different kinds (against labels, against a teacher), so each
    stage has its own scale, and says what its training loss is against; the loss of evaluations is
    always that of the labels. Accuracies share one axis, which shows where four fifths of the
    values are.

    Args:
      metrics: what :func:`read_curves` returns.
      title: of the figure.
      teachers: by stage, whose softmax it is trained towards; labels where there is none.

    Returns:
      The figure.

    Raises:
      ValueError: if there is nothing to draw.
    """
    if not metrics:
        raise ValueError("metrics: no stage has logged anything yet, so there is no curve to draw.")
    figure = new_figure(1.2 + 3.9 * len(metrics), 5.4)
    panels = figure.subplots(2, len(metrics), sharex="col", squeeze=False)
    for (stage, kinds), upper, lower in zip(metrics.items(), *panels, strict=True):
        for axes in (upper, lower):
            style_axes(axes)
        for kind, curve in kinds.items():
            _draw(upper, kind, curve["epoch"], curve["loss"])
            _draw(lower, kind, curve["epoch"], 100 * curve["top1"])
        upper.set_title(stage, loc="left", fontsize=TITLE_SIZE, color=INK, weight="bold")
        taught_by = (teachers or {}).get(stage)
        against = f"training loss: against {taught_by}" if taught_by else "loss: against labels"
        upper.set_title(against, loc="right", fontsize=TEXT_SIZE, color=MUTED)
        _scale_loss(upper)
        lower.set_xlabel("epoch", fontsize=TEXT_SIZE, color=INK)
        lower.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if "eval" in kinds:
            _label_last(lower, kinds["eval"])
    _share_accuracy(list(panels[1]), metrics)
    panels[0, 0].set_ylabel("loss (nats)", fontsize=TEXT_SIZE, color=INK)
    panels[1, 0].set_ylabel("top-1 accuracy (%)", fontsize=TEXT_SIZE, color=INK)
    figure.align_ylabels(panels[:, 0])
    add_legend(
        figure,
        [
            Line2D([], [], color=BLUE, lw=1.6, label="training, running mean"),
            Line2D([], [], color=BLUE, lw=0.8, alpha=PALE, label="each measurement"),
            Line2D([], [], color=ORANGE, lw=1.4, marker="o", ms=4, label="evaluation, on labels"),
        ],
        title,
    )
    return figure


def _draw(axes: Axes, kind: str, epoch: np.ndarray, values: np.ndarray) -> None:
    values = np.where(np.isfinite(values), values, np.nan)
    if kind == "eval":
        size = 4.0 if len(values) <= 40 else 2.0
        axes.plot(epoch, values, "-o", color=ORANGE, ms=size, lw=1.4, zorder=4)
        return
    marker = "." if len(values) == 1 else ""  # a line of one point is no line
    axes.plot(epoch, values, marker=marker, color=BLUE, lw=0.8, alpha=PALE, zorder=2)
    axes.plot(epoch, _running_mean(values), color=BLUE, lw=1.6, zorder=3)


def _running_mean(values: np.ndarray) -> np.ndarray:
    """Averages over a centered window of a thirtieth of the curve, shorter at its ends."""
    half = len(values) // 60
    windows = [values[max(0, i - half) : i + half + 1] for i in range(len(values))]
    return np.array([w[np.isfinite(w)].mean() if np.isfinite(w).any() else np.nan for w in windows])


def _scale_loss(axes: Axes) -> None:
    """Uses a logarithmic axis with plain numbers for positive losses that span a factor of 5."""
    drawn = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines])
    drawn = drawn[np.isfinite(drawn)]
    if drawn.size == 0 or drawn.min() <= 0 or drawn.max() < 5 * drawn.min():
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=20))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _share_accuracy(axes: list[Axes], metrics: dict[str, dict[str, Curve]]) -> None:
    """Gives every stage the same accuracy axis, up to 100 % where a curve comes near.

    The first steps, which every run makes alike, are cut off below.
    """
    drawn = [100 * curve["top1"] for kinds in metrics.values() for curve in kinds.values()]
    finite = np.concatenate(drawn)
    finite = finite[np.isfinite(finite)]
    low, high = (np.quantile(finite, 0.2), finite.max()) if finite.size else (0.0, 100.0)
    margin = max(1.0, 0.05 * (high - low))
    for panel in axes:
        panel.set_ylim(max(0.0, low - margin), min(100.0 + margin / 2, high + margin))


def _label_last(axes: Axes, curve: Curve) -> None:
    last = 100 * curve["top1"][-1]
    if np.isfinite(last):
        axes.text(
            *(0.97, 0.06),
            f"{last:.2f} % at the end",
            transform=axes.transAxes,
            ha="right",
            fontsize=TEXT_SIZE,
            color=ORANGE,
        )
    else:
        axes.text(0.97, 0.06, "diverged", transform=axes.transAxes, ha="right", color=MUTED)
