"""One training stage: the loop from its first step to its last."""

import dataclasses
import logging
import time
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict
from rich.progress import Progress

from n2uq_jax import data
from n2uq_jax.training import sharding
from n2uq_jax.training.evaluation import make_evaluation
from n2uq_jax.training.log import StageLog
from n2uq_jax.training.optimizer import learning_rate_schedule, make_optimizer
from n2uq_jax.training.preemption import Preempted, Preemption
from n2uq_jax.training.state import TrainState, create_state, split_model
from n2uq_jax.training.step import Pixels, make_train_step, on_leaves, pixels_of
from n2uq_jax.workdir.checkpoints import Checkpoints, saved_steps
from n2uq_jax.workdir.metrics import MetricsWriter
from n2uq_jax.workdir.stages import is_integer_only

logger = logging.getLogger(__name__)


@dataclasses.dataclass
class Stage:
    """What a stage runs on, shared by all of its parts.

    Args:
      name: as in ``config.stages``.
      config: the whole configuration.
      dataset: images and how to treat them.
      mesh: the devices.
      checkpoints: of this stage.
      writer: where measurements go; None on all processes but the first.
      progress: the progress bar.
      preemption: asked after every step.
    """

    name: str
    config: ConfigDict
    dataset: data.Dataset
    mesh: Mesh
    checkpoints: Checkpoints
    writer: MetricsWriter | None
    progress: Progress
    preemption: Preemption

    @property
    def settings(self) -> ConfigDict:
        """The stage's own part of the configuration."""
        return self.config[self.name]

    @property
    def steps_per_epoch(self) -> int:
        """Steps in a pass over the training split."""
        return data.steps_per_epoch(self.dataset, self.config.batch_size)

    @property
    def total_steps(self) -> int:
        """Steps in the stage."""
        return round(self.settings.epochs * self.steps_per_epoch)

    @property
    def dtype(self) -> str:
        """Of normalized images."""
        return "float64" if self.config.x64 else self.config.model.dtype

    @property
    def pixels(self) -> Pixels:
        """Normalization of the data set's images for the stage's network."""
        dtype = "uint8" if is_integer_only(self.config, self.name) else self.dtype
        return Pixels(self.dataset.mean, self.dataset.std, dtype)


def train_stage(stage: Stage, model: nnx.Module, teacher: nnx.Module | None) -> dict[str, float]:
    """Trains a network, from the stage's newest checkpoint on if there is one.

    Args:
      stage: what to run on.
      model: the network at its initial values; holds the trained ones afterwards.
      teacher: a float network in evaluation mode, or None to train on labels.

    Returns:
      ``loss``, ``top1`` and ``top5`` of the last evaluation.

    Raises:
      NonFiniteLossError: if the loss is NaN or infinite; the message names the step.
      Preempted: after SIGTERM or Ctrl-C, with a checkpoint saved.
    """
    config = stage.config
    graphdefs, params, batch_stats = split_model(model)
    schedule = learning_rate_schedule(stage.settings, stage.steps_per_epoch, stage.total_steps)
    optimizer = make_optimizer(stage.settings, schedule, params)
    state = create_state(params, batch_stats, optimizer)
    shardings = sharding.fsdp_sharding(stage.mesh, state)
    start, state, data_state = _resume(stage, jax.device_put(state, shardings))
    evaluate = make_evaluation(
        graphdefs,
        stage.dataset,
        stage.pixels,
        config.eval_batch_size,
        stage.mesh,
        num_workers=config.data.num_workers,
    )
    if start >= stage.total_steps:
        metrics = evaluate(state.params, state.batch_stats)
        _put_back(stage, model, state)
        return metrics

    train_step = make_train_step(
        graphdefs,
        optimizer,
        stage.settings,
        stage.pixels,
        teacher=None if teacher is None else nnx.graphdef(teacher),
        teacher_pixels=None if teacher is None else pixels_of(teacher, stage.dataset, stage.dtype),
        accumulate=config.accumulate,
        batch_norm_groups=stage.mesh.size if config.batch_norm == "per_device" else 1,
        state_sharding=shardings,
    )
    teacher_state = None
    if teacher is not None:
        teacher_state = jax.device_put(nnx.state(teacher), sharding.replicated(stage.mesh))
    log = StageLog(stage, graphdefs, schedule)
    log.compiling()
    profile = log.profile()
    save_every = config.checkpoint_every or stage.steps_per_epoch
    eval_every = max(1, round(config.eval_every * stage.steps_per_epoch))
    step_on_leaves = on_leaves(train_step, state, shardings)
    leaves, structure = jax.tree.flatten(state)
    with _batches(stage, data_state) as batches:
        for step in range(start + 1, stage.total_steps + 1):
            waiting = time.perf_counter()
            batch = next(batches)
            waited = time.perf_counter() - waiting
            profile.before(step)
            leaves, measured = step_on_leaves(leaves, batch, teacher_state)
            last = step == stage.total_steps
            profile.after(step, measured, last=last)
            log.add(step, measured, waited)
            if step == start + 1:  # compilation is no part of the speed that is reported
                jax.block_until_ready(measured)
                log.compiled()

            evaluating = last or step % eval_every == 0
            preempted = stage.preemption.reached()
            saving = evaluating or preempted or step % save_every == 0
            if saving or step % config.log_every == 0:
                state = jax.tree.unflatten(structure, leaves)
                log.write(step, state, batch)
            if evaluating:
                metrics = evaluate(state.params, state.batch_stats)
                log.write_evaluation(step, metrics)
            if saving:
                items, position = _items(state), batches.get_state()
                stage.checkpoints.save(step, items, position, metrics if evaluating else None)
                log.restart_clock()
            if preempted:
                stage.checkpoints.wait()
                raise Preempted(stage.preemption.cause, f"stage {stage.name}, step {step}")
    stage.checkpoints.wait()
    stage.preemption.saved()
    _put_back(stage, model, state)
    return metrics


def _items(state: TrainState) -> dict[str, Any]:
    """Returns what a checkpoint holds; the network apart, for whoever wants nothing else."""
    return {
        "model": nnx.merge_state(state.params, state.batch_stats),
        "optimizer": state.opt_state,
    }


def _resume(stage: Stage, state: TrainState) -> tuple[int, TrainState, dict[str, Any] | None]:
    """Returns the step, state and data state to go on from."""
    checkpoint = stage.checkpoints.restore(_items(state))
    step = 0 if checkpoint is None else checkpoint.step
    if stage.writer is not None:
        names = tuple(stage.config.stages)
        later = names[names.index(stage.name) + 1 :] if step < stage.total_steps else ()
        folder = stage.checkpoints.directory.parent
        anew = tuple(name for name in later if not saved_steps(folder / name))
        stage.writer.rewind(stage.name, step, anew)
    if checkpoint is None:
        return 0, state, None
    logger.info("stage %s goes on after step %d", stage.name, step)
    params, batch_stats = nnx.split_state(checkpoint.items["model"], nnx.Param, ...)
    count = jax.device_put(np.asarray(step, np.int32), state.step.sharding)
    state = TrainState(count, params, batch_stats, checkpoint.items["optimizer"])
    return step, state, checkpoint.data


def _batches(stage: Stage, state: dict[str, Any] | None) -> data.Prefetch:
    """Reads this process's share of every batch and moves it to the devices ahead of time."""
    batches = data.train_batches(
        stage.dataset,
        stage.config.batch_size,
        seed=stage.config.seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        num_workers=stage.config.data.num_workers,
        max_bad_records=stage.config.data.max_bad_records,
        copy=sharding.is_on_host(stage.mesh),
    )
    if state is not None:
        batches.set_state(state)
    put = lambda batch: sharding.put_batch(stage.mesh, batch)  # noqa: E731
    return data.Prefetch(batches, put, stage.config.data.prefetch)


def _put_back(stage: Stage, model: nnx.Module, state: TrainState) -> None:
    trained = nnx.merge_state(state.params, state.batch_stats)
    nnx.update(model, sharding.gather(stage.mesh, trained))
    model.eval()
