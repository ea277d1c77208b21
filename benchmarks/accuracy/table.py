"""The table, the paired differences and the plot of a study.

    python benchmarks/accuracy/table.py runs/accuracy/results.jsonl --plot accuracy.png

Prints Markdown. A row's accuracy is the mean over seeds and its standard error. Differences are
those of the runs of one seed, which share their float network and batches; the interval is
Student's, for 95 %.
"""

import argparse
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from study import SETTINGS, read_results

from n2uq_jax.report.style import (
    BLUE,
    INK,
    NEUTRAL,
    ORANGE,
    TEXT_SIZE,
    TITLE_SIZE,
    new_figure,
    save,
    style_axes,
)

# Two-sided 95 % points of Student's distribution, by degrees of freedom.
T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)

Runs = dict[tuple[int, str], dict[int, dict[str, Any]]]
"""Lines of results by bits and variant, then by seed."""


class Estimate(NamedTuple):
    """A mean over seeds.

    Args:
      mean: of the values.
      error: its standard error; NaN for one value.
      half_width: of its 95 % interval; NaN for one value.
      count: number of values.
    """

    mean: float
    error: float
    half_width: float
    count: int


def estimate(values: Iterable[float]) -> Estimate:
    """Returns the mean of values with its standard error and its 95 % interval."""
    array = np.asarray(list(values), np.float64)
    if len(array) < 2:
        return Estimate(float(array.mean()), math.nan, math.nan, len(array))
    error = float(array.std(ddof=1)) / math.sqrt(len(array))
    point = T95[len(array) - 2] if len(array) - 2 < len(T95) else 1.96
    return Estimate(float(array.mean()), error, point * error, len(array))


def grouped(lines: Iterable[Mapping[str, Any]]) -> Runs:
    """Sorts lines of results by bits, variant and seed.

    Raises:
      ValueError: if two lines differ in more than these, so that they are no comparison.
    """
    runs: Runs = {}
    settings = None
    for line in lines:
        mine = {name: line[name] for name in SETTINGS}
        if settings is not None and mine != settings:
            raise ValueError(f"results hold runs of {settings} and of {mine}: choose one setting.")
        settings = mine
        by_seed = runs.setdefault((line["bits"], line["variant"]), {})
        by_seed[line["seed"]] = dict(line)
    return runs


def difference(
    runs: Runs, one: tuple[int, str], other: tuple[int, str], *, seeds: Iterable[int] | None = None
) -> Estimate | None:
    """Estimates by how many points the top-1 of one variant is above another's, seed by seed.

    Args:
      runs: of :func:`grouped`.
      one: bits and variant.
      other: bits and variant that it is compared with.
      seeds: those to use; None for all that both have.

    Returns:
      The paired differences' mean, in points; None where no seed has both.
    """
    common = sorted(set(runs[one]) & set(runs[other]) & set(runs[one] if seeds is None else seeds))
    if not common:
        return None
    return estimate(100 * (runs[one][s]["top1"] - runs[other][s]["top1"]) for s in common)


def moved(line: Mapping[str, Any]) -> float:
    """Returns how far a run's thresholds are from uniform ones over 0..2, in steps of the output.

    Args:
      line: of results.

    Returns:
      The mean distance over all thresholds; NaN where none are learned.
    """
    distances = []
    for learned in line["thresholds"].values():
        uniform = (2 * np.arange(len(learned)) + 1) / len(learned)
        distances.extend(np.abs(np.asarray(learned) - uniform) * len(learned) / 2)
    return float(np.mean(distances)) if distances else math.nan


def rows(runs: Runs, reference: str = "n2uq") -> list[list[str]]:
    """Returns the table's cells, best variants first for each bit width."""
    start = {s: line["float_top1"] for by_seed in runs.values() for s, line in by_seed.items()}
    first = ["float, where all start", "32", str(len(start)), _accuracy(start.values())]
    table = [[*first, "", "", ""]]
    means = {key: np.mean([r["top1"] for r in by_seed.values()]) for key, by_seed in runs.items()}
    widths = sorted({bits for bits, _ in runs}, reverse=True)
    for key in sorted(runs, key=lambda key: (widths.index(key[0]), -means[key])):
        bits, variant = key
        lines = runs[key].values()
        against = (bits, reference)
        paired = difference(runs, key, against) if against in runs and key != against else None
        seconds = np.mean([line["cpu_seconds"] for line in lines])
        distance = np.mean([moved(line) for line in lines])
        table.append(
            [
                *(variant, str(bits), str(len(lines)), _accuracy(r["top1"] for r in lines)),
                "" if paired is None else _points(paired),
                "" if math.isnan(distance) else f"{distance:.3f}",
                f"{seconds:.0f}",
            ]
        )
    return table


def _accuracy(values: Iterable[float]) -> str:
    e = estimate(100 * value for value in values)
    return f"{e.mean:.2f}" if math.isnan(e.error) else f"{e.mean:.2f} ± {e.error:.2f}"


def _points(e: Estimate) -> str:
    if math.isnan(e.half_width):
        return f"{e.mean:+.2f}"
    return f"{e.mean:+.2f} [{e.mean - e.half_width:+.2f}, {e.mean + e.half_width:+.2f}]"


def print_table(runs: Runs, reference: str) -> None:
    header = ["variant", "bits", "seeds", "top-1, %", f"points above {reference}"]
    header += ["thresholds moved", "processor s"]
    print(f"| {' | '.join(header)} |\n| {' | '.join(['---'] * len(header))} |")
    for row in rows(runs, reference):
        print(f"| {' | '.join(row)} |")


def draw(runs: Runs, reference: str = "n2uq") -> Figure:
    """Draws every run as a dot and every variant's mean as a bar with its 95 % interval."""
    order = sorted(runs, key=lambda key: np.mean([r["top1"] for r in runs[key].values()]))
    figure = new_figure(6.4, 0.42 * len(order) + 1.0)
    axes = figure.subplots()
    style_axes(axes)
    for y, key in enumerate(order):
        values = [100 * line["top1"] for line in runs[key].values()]
        mean = estimate(values)
        color = ORANGE if key[1] == reference else BLUE
        axes.plot(values, [y] * len(values), "o", color=NEUTRAL, markersize=4, alpha=0.7)
        width = 0 if math.isnan(mean.half_width) else mean.half_width
        axes.errorbar(mean.mean, y, xerr=width, fmt="|", color=color, markersize=14, capsize=3)
    axes.set_yticks(
        range(len(order)), [f"{v}, {b} bits" if b < 32 else v for b, v in order], fontsize=TEXT_SIZE
    )
    axes.set_xlabel("top-1, %: each seed, mean and its 95 % interval", fontsize=TITLE_SIZE)
    axes.xaxis.label.set_color(INK)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--reference", default="n2uq", help="variant that others are compared with")
    parser.add_argument("--plot", type=Path, help="where to draw")
    arguments = parser.parse_args()
    runs = grouped(read_results(arguments.results))
    print_table(runs, arguments.reference)
    if arguments.plot:
        save(draw(runs, arguments.reference), arguments.plot)


if __name__ == "__main__":
    main()
