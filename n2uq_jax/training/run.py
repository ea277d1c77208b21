"""A whole run: the stages that a configuration names, one after another, and a summary."""

import contextlib
import dataclasses
import functools
from pathlib import Path

import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table

from n2uq_jax import data
from n2uq_jax.compilation import construct
from n2uq_jax.conversion import calibrate
from n2uq_jax.report.size import model_bytes
from n2uq_jax.training import sharding
from n2uq_jax.training.checks import check_config, check_fit
from n2uq_jax.training.initialization import initialize, load_teacher, range_images
from n2uq_jax.training.log import progress_bar
from n2uq_jax.training.preemption import Preemption
from n2uq_jax.training.rehearsal import rehearse
from n2uq_jax.training.stage import Stage, train_stage
from n2uq_jax.training.step import pixels_of
from n2uq_jax.workdir import processes
from n2uq_jax.workdir.checkpoints import Checkpoints
from n2uq_jax.workdir.config_json import open_workdir, read_workdir, without_sentinels
from n2uq_jax.workdir.lock import owned
from n2uq_jax.workdir.metrics import MetricsWriter
from n2uq_jax.workdir.model import make_model, open_dataset, precision
from n2uq_jax.workdir.stages import network_kind, title


@dataclasses.dataclass(frozen=True)
class StageResult:
    """What became of a stage.

    Args:
      name: as in ``config.stages``.
      metrics: ``loss``, ``top1`` and ``top5`` of the last evaluation.
      model_bytes: size of the network with its weights packed.
    """

    name: str
    metrics: dict[str, float]
    model_bytes: int


def train(
    config: ConfigDict,
    workdir: str | Path,
    console: Console | None = None,
    *,
    restart: bool = False,
) -> list[StageResult]:
    """Trains what a configuration describes, or goes on where an earlier call was stopped.

    Args:
      config: see :func:`n2uq_jax.training.config.default_config`.
      workdir: a new or empty folder, or that of the same run.
      console: where progress and the summary are printed; None for the terminal.
      restart: let stages start anew that depend on what has changed in the configuration since the
        last call; without it, that is an error. Others go on where they were either way.

    Returns:
      One result a stage.

    Raises:
      ValueError: if the configuration contradicts itself or the workdir, or a stage does not fit.
      FileNotFoundError: if what a stage starts from, or is taught by, is not there.
      WorkdirInUse: if another run trains in the workdir.
      NonFiniteLossError: if a loss is NaN or infinite.
      Preempted: after SIGTERM or Ctrl-C, with a checkpoint saved.
    """
    config = ConfigDict(without_sentinels(config.to_dict()))
    check_config(config)
    workdir = Path(workdir)
    first = processes.is_first()
    console = console or Console(quiet=not first)
    with contextlib.ExitStack() as cleanup:
        cleanup.enter_context(precision(config.x64))
        preemption = cleanup.enter_context(Preemption())
        mesh = sharding.make_mesh(**config.mesh.to_dict())
        sharding.check_batch(mesh, "batch_size", config.batch_size, config.accumulate)
        sharding.check_batch(mesh, "eval_batch_size", config.eval_batch_size)
        dataset = open_dataset(config.data.to_dict())
        check_fit(config, dataset)
        rehearse(config, dataset, mesh)
        processes.first_alone("lock", lambda: cleanup.enter_context(owned(workdir)))
        processes.first_alone(
            "workdir", lambda: open_workdir(workdir, config, dataset, restart=restart)
        )
        about = read_workdir(workdir)["dataset"]
        writer = cleanup.enter_context(MetricsWriter(workdir)) if first else None
        progress = cleanup.enter_context(progress_bar(console))
        results: list[StageResult] = []
        trained: dict[str, nnx.Module] = {}
        for name in config.stages:
            settings = config[name]
            model = construct(functools.partial(make_model, config.to_dict(), about, name))
            images = functools.partial(range_images, dataset, config)
            has_quantizers = initialize(model, settings.init, trained, images)
            if settings.quantized and not has_quantizers and _starts_from_data(config, name):
                pixels = pixels_of(model, dataset, "float64" if config.x64 else "float32")
                calibrate(model, [pixels(jnp.asarray(batch)) for batch in images()])
            teacher = load_teacher(settings, trained, dataset, config)
            checkpoints = Checkpoints(workdir / "checkpoints" / name, keep=config.keep_checkpoints)
            with contextlib.closing(checkpoints):
                stage = Stage(
                    name, config, dataset, mesh, checkpoints, writer, progress, preemption
                )
                metrics = train_stage(stage, model, teacher)
            trained[name] = model
            results.append(StageResult(name, metrics, model_bytes(model)))
        progress.stop()
        if first:
            console.print(summary(config, results))
            if config.figures:
                _draw(config, dataset, model, workdir, console)
        return results


def _starts_from_data(config: ConfigDict, stage: str) -> bool:
    """Whether a stage's quantizers want training images before the first step."""
    return config[stage].calibrate or config.model.method in ("lsq", "pact")


def summary(config: ConfigDict, results: list[StageResult]) -> Table:
    """Returns a table of the stages: accuracy, and size beside the largest network.

    Args:
      config: of the run.
      results: one a stage.
    """
    table = Table(title=title(config))
    for column in ("network", "top-1", "top-5", "bytes", "smaller by"):
        table.add_column(column, justify="left" if column == "network" else "right")
    largest = max(r.model_bytes for r in results)
    for r in results:
        table.add_row(
            f"{r.name} ({network_kind(config, r.name)})",
            f"{r.metrics['top1']:.2%}",
            f"{r.metrics['top5']:.2%}",
            f"{r.model_bytes:,}",
            f"{largest / r.model_bytes:.1f}x",
        )
    return table


def _draw(
    config: ConfigDict, dataset: data.Dataset, model: nnx.Module, workdir: Path, console: Console
) -> None:
    # matplotlib takes a second to import, and not every run draws.
    from n2uq_jax.report.figures import write_figures

    sample = next(data.eval_batches(dataset, config.eval_batch_size))["image"]
    images = pixels_of(model, dataset, "float32")(jnp.asarray(sample))
    metrics = workdir / "metrics.jsonl"
    for path in write_figures(model, metrics, images, workdir / "figures", config):
        console.print(f"wrote {path}", soft_wrap=True)
