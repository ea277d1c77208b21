"""Makes the page of inference times, and its picture, from what `inference.py` measured.

    python benchmarks/inference_page.py benchmarks/results/inference.json

writes `docs/inference.md` and `docs/images/inference.png`.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from n2uq_jax.report.style import (
    BLUE,
    INK,
    NEUTRAL,
    TEXT_SIZE,
    TITLE_SIZE,
    new_figure,
    save,
    style_axes,
)

DOCS = Path(__file__).parent.parent / "docs"
INT8 = "ONNX Runtime int8"

TITLES = {
    "ONNX Runtime float32": "ONNX Runtime, torchvision's network in float32",
    INT8: "ONNX Runtime, torchvision's network in int8",
    "ONNX Runtime ours": "ONNX Runtime, our `model.onnx`",
    "XLA": "XLA, our StableHLO",
    "C": "our C program",
    "C, paper's form": "our C program, paper's form",
}

MEMORY = """\
Where a forced kernel cannot compute a layer, the fastest that can does. What opening a network and
running one image takes, in a process of its own:"""

SHARED = """\
Threads that share an image in the C program wait for each other at every layer, and here for a
processor that the waiting threads of other engines keep busy; {doc}`export` says what it takes
alone."""

Row = dict[str, Any]


def ratios(row: Row, rows: list[Row]) -> tuple[float, float]:
    """Returns time on the clock and of the processor, of those of int8 in the same setting."""
    setting = ("network", "threads", "batch")
    (int8,) = (
        r["medians"]
        for r in rows
        if r["engine"] == INT8 and all(r[key] == row[key] for key in setting)
    )
    clock, processor = (own / other for own, other in zip(row["medians"], int8, strict=True))
    return clock, processor


def name_of(row: Row, titles: dict[str, str] = TITLES) -> str:
    """Names an engine, with its kernel and bits."""
    parts = [titles[row["engine"]], row["kernel"] and f"kernel `{row['kernel']}`"]
    return ", ".join([*filter(None, parts), *([f"{row['bits']} bits"] if row["bits"] else [])])


def table(rows: list[Row], everything: list[Row]) -> str:
    """Returns the times of one network, one number of threads and one batch size."""
    lines = ["| engine | ms an image | of int8's | processor time of int8's |", "|" + " --- |" * 4]
    for row in rows:
        clock, processor = ratios(row, everything)
        lines.append(
            f"| {name_of(row)} | {row['medians'][0]:.2f} | {clock:.2f} | {processor:.2f} |"
        )
    return "\n".join(lines)


def memory_table(rows: list[Row]) -> str:
    """Returns the sizes of what each engine loads, and by how much memory grows."""
    lines = ["| engine | model or library, MB | memory grows by, MB |", "|" + " --- |" * 3]
    for row in rows:
        if row["kernel"] is None and row["grown"] is not None:
            megabytes = (f"{row[key] / 1000:.1f}" for key in ("kilobytes", "grown"))
            lines.append(f"| {name_of(row)} | {' | '.join(megabytes)} |")
    return "\n".join(lines)


def page(results: dict[str, Any]) -> str:
    """Returns the page as Markdown."""
    rows, versions = results["rows"], results["versions"]
    loads = [row["load"] for row in rows]
    text = f"""\
# Inference times

<!-- Made by benchmarks/inference_page.py: change that. -->

Images of {results["size"]} by {results["size"]} pixels. All engines of a table took turns in one
run; figures are medians, of networks with the parameters that they begin with. Measured on
{results["date"]} on {results["processor"]} ({results["cores"]} cores,
{", ".join(results["extensions"])}), with ONNX Runtime {versions["onnxruntime"]}, jax
{versions["jax"]} and {versions["compiler"]}.

The machine's load before each table was {min(loads):.1f} to {max(loads):.1f}. It counts the
benchmark's own last minute. Where somebody else computes, ratios of the processor's time tell most.

![Processor time, size and memory beside ONNX Runtime's int8](images/inference.png)
"""
    settings = dict.fromkeys((r["network"], r["threads"], r["batch"]) for r in rows)
    for network, threads, batch in settings:
        group = [
            r for r in rows if (r["network"], r["threads"], r["batch"]) == (network, threads, batch)
        ]
        counts = (
            f"{n} {word}{'s' if n > 1 else ''}"
            for n, word in ((threads, "thread"), (batch, "image"))
        )
        text += f"\n## {network}, {', '.join(counts)}\n\n{table(group, rows)}\n"
        if threads > batch:
            text += f"\n{SHARED}\n"
        if (threads, batch) == (1, 1):
            text += f"\n{MEMORY}\n\n{memory_table(group)}\n"
    text += """
```bash
python benchmarks/inference.py --networks resnet18 mobilenet_v2 --bits 2 4 --paper 2 \\
    --results benchmarks/results/inference.json
python benchmarks/inference_page.py benchmarks/results/inference.json
```
"""
    return text


def draw(rows: list[Row], path: Path) -> None:
    """Draws processor time, size and memory of the first setting."""
    first = rows[0]
    shown = [
        r
        for r in rows
        if all(r[key] == first[key] for key in ("network", "threads", "batch"))
        and r["kernel"] is None
        and r["grown"] is not None
    ]
    titles = {name: name for name in TITLES}
    names = [name_of(r, titles) for r in shown]
    colors = [BLUE if r["engine"].startswith("C") else NEUTRAL for r in shown]
    figure = new_figure(8, 0.35 * len(shown) + 0.9)
    panels = (
        ("processor time, of int8's", "{:.2f}", [ratios(r, rows)[1] for r in shown]),
        ("file, MB", "{:.1f}", [r["kilobytes"] / 1000 for r in shown]),
        ("memory grows by, MB", "{:.1f}", [r["grown"] / 1000 for r in shown]),
    )
    for axes, (title, form, values) in zip(figure.subplots(1, 3, sharey=True), panels, strict=True):
        style_axes(axes)
        bars = axes.barh(names, values, color=colors, height=0.6)
        labels = [form.format(v) for v in values]
        axes.bar_label(bars, labels, padding=3, fontsize=TEXT_SIZE, color=INK)
        axes.set_title(title, loc="left", fontsize=TITLE_SIZE, color=INK)
        axes.margins(x=0.25)
        axes.grid(False)
    figure.axes[0].invert_yaxis()
    save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="what inference.py wrote")
    results = json.loads(parser.parse_args().results.read_text())
    (DOCS / "inference.md").write_text(page(results))
    draw(results["rows"], DOCS / "images" / "inference.png")


if __name__ == "__main__":
    main()
