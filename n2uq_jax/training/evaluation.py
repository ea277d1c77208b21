"""Evaluation on every image of a data set, each exactly once."""

import contextlib
import os
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh

from n2uq_jax import data
from n2uq_jax.training import sharding
from n2uq_jax.training.state import split_model
from n2uq_jax.training.step import Batch, Pixels, make_eval_step
from n2uq_jax.workdir.config_json import read_workdir
from n2uq_jax.workdir.model import load, open_dataset


def evaluate(
    eval_step: Callable[[Batch], dict[str, jax.Array]],
    dataset: data.Dataset,
    batch_size: int,
    mesh: Mesh,
    *,
    num_workers: int = 0,
) -> dict[str, float]:
    """Averages weighted sums over the evaluation split.

    Args:
      eval_step: gives the sums of a batch, and their ``count``.
      dataset: what to evaluate on.
      batch_size: over all processes.
      mesh: the devices.
      num_workers: decoding processes.

    Returns:
      Every sum but ``count``, divided by the number of images.
    """
    batches = data.eval_batches(
        dataset,
        batch_size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        num_workers=num_workers,
        copy=sharding.is_on_host(mesh),
    )
    sums = []
    with data.Prefetch(batches, lambda batch: sharding.put_batch(mesh, batch)) as prefetch:
        for batch in prefetch:
            sums.append(eval_step(batch))
    totals = {name: np.sum([s[name] for s in jax.device_get(sums)], axis=0) for name in sums[0]}
    count = totals.pop("count")
    return {name: float(total / count) for name, total in totals.items()}


def evaluate_workdir(
    workdir: str | os.PathLike[str],
    *,
    stage: str | None = None,
    best: bool = False,
    data_dir: str | None = None,
    batch_size: int | None = None,
) -> dict[str, float]:
    """Evaluates the trained network of a workdir on the data set it was trained for.

    Args:
      workdir: what ``python -m n2uq_jax.main`` wrote.
      stage: name of the training stage; None for the last that has a checkpoint.
      best: the checkpoint with the highest top-1 instead of the newest.
      data_dir: where the data are now; None for where they were in training.
      batch_size: None for that of the run.

    Returns:
      ``loss``, ``top1``, ``top5``, and the number of ``images``.

    Raises:
      FileNotFoundError: if the workdir, a checkpoint or the data set is missing.
    """
    config = read_workdir(workdir)["config"]
    with jax.enable_x64(True) if config["x64"] else contextlib.nullcontext():
        model = load(workdir, stage=stage, best=best)
        dataset = open_dataset(config["data"], data_dir)
        mesh = sharding.make_mesh()
        size = batch_size or config["eval_batch_size"]
        sharding.check_batch(mesh, "batch_size", size)
        graphdefs, *state = split_model(model)
        params, batch_stats = (jax.device_put(part, sharding.spread(mesh, part)) for part in state)
        dtype = "float64" if config["x64"] else config["model"]["dtype"]
        eval_step = make_eval_step(graphdefs, Pixels(dataset.mean, dataset.std, dtype))
        metrics = evaluate(
            lambda batch: eval_step(params, batch_stats, batch),
            dataset,
            size,
            mesh,
            num_workers=config["data"]["num_workers"],
        )
    return {**metrics, "images": len(dataset.evaluation)}
