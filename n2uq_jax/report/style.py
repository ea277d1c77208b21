"""One look for every picture, through matplotlib's objects and never its global state."""

import os
from collections.abc import Sequence
from pathlib import Path

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK = "#24292f"
MUTED = "#6e7781"
GRID = "#e4e7eb"
NEUTRAL = "#9aa4af"
BLUE = "#1f5fa8"
ORANGE = "#d1702a"
SAND = "#f3cfae"
TINTS = ("#dfe9f4", "#9dbfe0")
"""First and last of a ramp of light blues."""

LEGEND_INCHES = 2.3
"""Width of an entry of the legend."""

TITLE_SIZE = 10.0
TEXT_SIZE = 8.5


def new_figure(width: float, height: float) -> Figure:
    """Returns an empty figure that lays itself out.

    Args:
      width: in inches.
      height: in inches.

    Returns:
      The figure, on an Agg canvas.
    """
    figure = Figure(figsize=(width, height), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def style_axes(axes: Axes) -> None:
    """Gives a panel two quiet spines, small ticks and a faint grid behind the data.

    Args:
      axes: the panel.
    """
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(NEUTRAL)
    axes.tick_params(which="both", color=NEUTRAL, labelcolor=INK, labelsize=TEXT_SIZE)
    axes.set_axisbelow(True)
    axes.grid(True, color=GRID, linewidth=0.8)


def add_legend(figure: Figure, handles: Sequence[Artist], title: str = "") -> None:
    """Puts one legend for all panels above them, in two rows where the figure is narrow.

    Args:
      figure: with panels.
      handles: what is explained.
      title: of the figure, above the legend.
    """
    fits = figure.get_figwidth() >= LEGEND_INCHES * len(handles)
    figure.legend(
        handles=list(handles),
        loc="outside upper center",
        ncols=len(handles) if fits else -(-len(handles) // 2),
        frameon=False,
        fontsize=TITLE_SIZE,
        labelcolor=INK,
        title=title or None,
        title_fontproperties={"size": TITLE_SIZE, "weight": "bold"},
    )


def save(figure: Figure, path: str | os.PathLike[str], *, dpi: int = 160) -> Path:
    """Writes a figure as PNG; the file appears complete or not at all.

    Args:
      figure: a figure of :func:`new_figure`.
      path: the file; its folder is made if it is missing.
      dpi: pixels per inch.

    Returns:
      The path.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        figure.savefig(partial, format="png", dpi=dpi)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path
