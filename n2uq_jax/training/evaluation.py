"""Evaluation of a network on every image of a data set, each exactly once."""

import os
from collections.abc import Callable

import jax
from flax import nnx
from jax.sharding import Mesh

from n2uq_jax import data
from n2uq_jax.progress import Progress, counted, silent
from n2uq_jax.training import sharding
from n2uq_jax.training.state import GraphDefs, split_model
from n2uq_jax.training.step import Pixels, make_eval_step, pixels_of
from n2uq_jax.workdir.accuracy import evaluate
from n2uq_jax.workdir.config_json import read_workdir
from n2uq_jax.workdir.model import load, open_dataset, precision


def make_evaluation(
    graphdefs: GraphDefs,
    dataset: data.Dataset,
    pixels: Pixels,
    batch_size: int,
    mesh: Mesh,
    *,
    num_workers: int = 0,
    progress: Progress = silent,
) -> Callable[[nnx.State, nnx.State], dict[str, float]]:
    """Returns a function that evaluates parameters, on all devices of all processes.

    Args:
      graphdefs: the network's static halves.
      dataset: what to evaluate on.
      pixels: normalization.
      batch_size: over all processes.
      mesh: the devices.
      num_workers: decoding processes.
      progress: told about each batch.

    Returns:
      A function of parameters and batch statistics that are on the mesh; it returns ``loss``,
      ``top1``, ``top5`` and the number of ``images``.
    """
    eval_step = make_eval_step(graphdefs, pixels)

    def evaluation(params: nnx.State, batch_stats: nnx.State) -> dict[str, float]:
        batches = data.eval_batches(
            dataset,
            batch_size,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            num_workers=num_workers,
            copy=sharding.is_on_host(mesh),
        )
        with data.Prefetch(batches, lambda batch: sharding.put_batch(mesh, batch)) as prefetch:
            steps = counted(prefetch, "Evaluating", len(batches), progress)
            return evaluate(lambda batch: eval_step(params, batch_stats, batch), steps)

    return evaluation


def evaluate_workdir(
    workdir: str | os.PathLike[str],
    *,
    stage: str | None = None,
    best: bool = False,
    data_dir: str | None = None,
    batch_size: int | None = None,
    progress: Progress = silent,
) -> dict[str, float]:
    """Evaluates the trained network of a workdir on the data set it was trained for.

    Args:
      workdir: what ``n2uq train`` wrote.
      stage: name of the training stage; None for the last that has a checkpoint.
      best: the checkpoint with the highest top-1 instead of the newest.
      data_dir: where the data are now; None for where they were in training.
      batch_size: None for that of the run.
      progress: told about each batch.

    Returns:
      ``loss``, ``top1``, ``top5``, and the number of ``images``.

    Raises:
      FileNotFoundError: if the workdir, a checkpoint or the data set is missing.
    """
    config = read_workdir(workdir)["config"]
    progress("Reading the network", 0, 1)
    with precision(config["x64"]):
        model = load(workdir, stage=stage, best=best)
        progress("Reading the network", 1, 1)
        dataset = open_dataset(config["data"], data_dir)
        mesh = sharding.make_mesh()
        size = batch_size or config["eval_batch_size"]
        sharding.check_batch(mesh, "batch_size", size)
        graphdefs, *state = split_model(model)
        params, batch_stats = (
            jax.device_put(part, sharding.fsdp_sharding(mesh, part)) for part in state
        )
        dtype = "float64" if config["x64"] else config["model"]["dtype"]
        evaluation = make_evaluation(
            graphdefs,
            dataset,
            pixels_of(model, dataset, dtype),
            size,
            mesh,
            num_workers=config["data"]["num_workers"],
            progress=progress,
        )
        return evaluation(params, batch_stats)
