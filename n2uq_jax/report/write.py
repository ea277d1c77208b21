"""The report of a run, from its workdir."""

import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from n2uq_jax import data
from n2uq_jax.progress import Progress, silent
from n2uq_jax.report.curves import read_curves
from n2uq_jax.report.figures import write_figures
from n2uq_jax.report.size import model_bytes
from n2uq_jax.workdir.config_json import read_workdir
from n2uq_jax.workdir.model import abstract_model, load, open_dataset, precision
from n2uq_jax.workdir.stages import network_kind, title


def write_report(
    workdir: str | os.PathLike[str],
    *,
    data_dir: str | None = None,
    console: Console | None = None,
    progress: Progress = silent,
) -> list[Path]:
    """Prints a table of a run's stages and draws its pictures anew.

    Where the data set is not at hand, the staircases have no histogram behind them.

    Args:
      workdir: what ``n2uq train`` wrote.
      data_dir: where the data are now, if they have moved.
      console: where the table goes; None for the terminal.
      progress: told about each step.

    Returns:
      The pictures, in the workdir's ``figures/``.

    Raises:
      FileNotFoundError: if it is no workdir, or has no metrics or no checkpoint yet.
    """
    workdir = Path(workdir)
    console = console or Console()
    contents = read_workdir(workdir)
    console.print(stage_table(contents, workdir / "metrics.jsonl"))
    with precision(contents["config"]["x64"]):
        progress("Reading the network", 0, 1)
        model = load(workdir)
        progress("Reading the network", 1, 1)
        progress("Drawing", 0, 1)
        try:
            pixels = getattr(model, "image_dtype", None) == jnp.uint8
            sample = _sample(contents, data_dir, pixels)
        except FileNotFoundError as missing:
            console.print(f"The staircases have no histograms: {missing}")
            sample = None
        metrics, figures = workdir / "metrics.jsonl", workdir / "figures"
        written = write_figures(model, metrics, sample, figures, contents["config"])
    progress("Drawing", 1, 1)
    for path in written:
        console.print(f"wrote {path}", soft_wrap=True)
    return written


def stage_table(contents: dict[str, Any], metrics_path: Path) -> Table:
    """Lists accuracy and size of every stage that was evaluated.

    Args:
      contents: a workdir's ``config.json``.
      metrics_path: its ``metrics.jsonl``.

    Returns:
      One row a stage: its last and its best evaluation, and the bytes of its network.
    """
    config = contents["config"]
    metrics = read_curves(metrics_path)
    table = Table(title=title(config))
    for column in ("stage", "network", "epochs", "top-1", "best", "top-5", "bytes"):
        left = column in ("stage", "network")
        table.add_column(column, justify="left" if left else "right")
    for stage in config["stages"]:
        if "eval" not in metrics.get(stage, {}):
            continue
        curve = metrics[stage]["eval"]
        model = abstract_model(config, contents["dataset"], stage)
        table.add_row(
            stage,
            network_kind(config, stage),
            f"{curve['epoch'][-1]:g}",
            f"{curve['top1'][-1]:.2%}",
            f"{np.max(curve['top1']):.2%}",
            f"{curve['top5'][-1]:.2%}",
            f"{model_bytes(model):,}",
        )
    return table


def _sample(contents: dict[str, Any], data_dir: str | None, pixels: bool) -> jax.Array:
    config, known = contents["config"], contents["dataset"]
    dataset = open_dataset(config["data"], data_dir)
    batch = next(data.eval_batches(dataset, config["eval_batch_size"]))
    images = jnp.asarray(batch["image"])
    return images if pixels else data.normalize(images, known["mean"], known["std"])
