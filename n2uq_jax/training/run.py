"""A whole run: the stages that a configuration names, one after another, and a summary."""

import contextlib
import dataclasses
import logging
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table

from n2uq_jax import data
from n2uq_jax.report.size import model_bytes
from n2uq_jax.training import sharding
from n2uq_jax.training.checks import check_config
from n2uq_jax.training.initialization import initialize, load_teacher
from n2uq_jax.training.log import progress_bar
from n2uq_jax.training.preemption import Preemption
from n2uq_jax.training.stage import Stage, train_stage
from n2uq_jax.workdir.checkpoints import Checkpoints
from n2uq_jax.workdir.config_json import open_workdir, read_workdir
from n2uq_jax.workdir.metrics import MetricsWriter
from n2uq_jax.workdir.model import make_model, open_dataset

logger = logging.getLogger(__name__)


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
    config: ConfigDict, workdir: str | Path, console: Console | None = None
) -> list[StageResult]:
    """Trains what a configuration describes, or goes on where an earlier call was stopped.

    Args:
      config: see :func:`n2uq_jax.training.config.default_config`.
      workdir: a new or empty folder, or that of the same run.
      console: where progress and the summary are printed; None for the terminal.

    Returns:
      One result a stage.

    Raises:
      ValueError: if the configuration contradicts itself or the workdir.
      NonFiniteLossError: if a loss is NaN or infinite.
      Preempted: after a SIGTERM, with a checkpoint saved.
    """
    check_config(config)
    workdir = Path(workdir)
    first = jax.process_index() == 0
    console = console or Console(quiet=not first)
    precision = jax.enable_x64(True) if config.x64 else contextlib.nullcontext()
    with precision, Preemption() as preemption:
        mesh = sharding.make_mesh(**config.mesh.to_dict())
        sharding.check_batch(mesh, "batch_size", config.batch_size, config.accumulate)
        sharding.check_batch(mesh, "eval_batch_size", config.eval_batch_size)
        dataset = open_dataset(config.data.to_dict())
        if first:
            open_workdir(workdir, config, dataset)
        _wait_for_all("workdir")
        writer = MetricsWriter(workdir) if first else None
        results: list[StageResult] = []
        trained: dict[str, nnx.Module] = {}
        try:
            with progress_bar(console) as progress:
                for name in config.stages:
                    stage = Stage(
                        name=name,
                        config=config,
                        dataset=dataset,
                        mesh=mesh,
                        checkpoints=Checkpoints(
                            workdir / "checkpoints" / name, keep=config.keep_checkpoints
                        ),
                        writer=writer,
                        progress=progress,
                        preemption=preemption,
                    )
                    with contextlib.closing(stage.checkpoints):
                        trained[name] = _prepare(stage, workdir, trained)
                        teacher = load_teacher(stage.settings, trained, dataset, config)
                        metrics = train_stage(stage, trained[name], teacher)
                    results.append(StageResult(name, metrics, model_bytes(trained[name])))
        finally:
            if writer is not None:
                writer.close()
        if first:
            _finish(workdir, config, dataset, trained[config.stages[-1]], results, console)
        return results


def _prepare(stage: Stage, workdir: Path, trained: dict[str, nnx.Module]) -> nnx.Module:
    model = make_model(
        stage.config.model.to_dict(),
        read_workdir(workdir)["dataset"],
        quantized=stage.settings.quantized,
        seed=stage.config.seed,
        x64=stage.config.x64,
    )
    initialize(model, stage.settings.init, trained)
    return model


def _wait_for_all(name: str) -> None:
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def _finish(
    workdir: Path,
    config: ConfigDict,
    dataset: data.Dataset,
    model: nnx.Module,
    results: list[StageResult],
    console: Console,
) -> None:
    table = Table(title=f"{config.model.name} on {config.data.name}")
    for column in ("network", "top-1", "top-5", "bytes", "smaller by"):
        table.add_column(column, justify="left" if column == "network" else "right")
    largest = max(r.model_bytes for r in results)
    for r in results:
        bits = f"W{config.model.w_bits}A{config.model.a_bits}"
        kind = bits if config[r.name].quantized else "float32"
        table.add_row(
            f"{r.name} ({kind})",
            f"{r.metrics['top1']:.2%}",
            f"{r.metrics['top5']:.2%}",
            f"{r.model_bytes:,}",
            f"{largest / r.model_bytes:.1f}x",
        )
    console.print(table)
    if config.figures:
        from n2uq_jax.report.figures import write_figures

        sample = next(data.eval_batches(dataset, config.eval_batch_size))["image"]
        images = data.normalize(jnp.asarray(sample), dataset.mean, dataset.std)
        for path in write_figures(model, workdir / "metrics.jsonl", images, workdir / "figures"):
            console.print(f"wrote {path}", soft_wrap=True)
