"""One training stage: the loop from its first step to its last."""

import dataclasses
import logging
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict
from rich.progress import Progress

from n2uq_jax import data
from n2uq_jax.training import sharding
from n2uq_jax.training.evaluation import evaluate
from n2uq_jax.training.log import StageLog
from n2uq_jax.training.optimizer import learning_rate_schedule, make_optimizer
from n2uq_jax.training.preemption import Preempted, Preemption
from n2uq_jax.training.state import GraphDefs, TrainState, create_state, split_model
from n2uq_jax.training.step import Pixels, make_eval_step, make_train_step
from n2uq_jax.workdir.checkpoints import Checkpoints
from n2uq_jax.workdir.metrics import MetricsWriter

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
    def pixels(self) -> Pixels:
        """Normalization of the data set's images."""
        dtype = "float64" if self.config.x64 else self.config.model.dtype
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
      Preempted: after a SIGTERM, with a checkpoint saved.
    """
    graphdefs, params, batch_stats = split_model(model)
    schedule = learning_rate_schedule(stage.settings, stage.steps_per_epoch, stage.total_steps)
    optimizer = make_optimizer(stage.settings, schedule, params)
    state = create_state(params, batch_stats, optimizer)
    shardings = sharding.spread(stage.mesh, state)
    state = jax.device_put(state, shardings)
    start, state, data_state = _resume(stage, state)

    evaluate_now = _evaluator(stage, graphdefs)
    metrics: dict[str, float] = {}
    if start >= stage.total_steps:
        metrics = evaluate_now(state, start, write=False)
        _put_back(stage, model, state)
        return metrics

    teacher_graphdef, teacher_state = None, None
    if teacher is not None:
        teacher_graphdef, teacher_state = nnx.split(teacher)
        teacher_state = jax.device_put(teacher_state, sharding.replicated(stage.mesh))
    step_function = make_train_step(
        graphdefs,
        optimizer,
        stage.settings,
        stage.pixels,
        teacher=teacher_graphdef,
        accumulate=stage.config.accumulate,
        batch_norm_groups=stage.mesh.size if stage.config.batch_norm == "per_device" else 1,
        state_sharding=shardings,
    )
    log = StageLog(stage, graphdefs, schedule)
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
    if data_state is not None:
        batches.set_state(data_state)
    save_every = stage.config.checkpoint_every or stage.steps_per_epoch
    eval_every = max(1, round(stage.config.eval_every * stage.steps_per_epoch))
    first_profiled, last_profiled, profile = _profiled_steps(stage, start)
    put = lambda batch: sharding.put_batch(stage.mesh, batch)  # noqa: E731
    with data.Prefetch(batches, put, stage.config.data.prefetch) as prefetch:
        for step in range(start + 1, stage.total_steps + 1):
            waiting = time.perf_counter()
            batch = next(prefetch)
            waited = time.perf_counter() - waiting
            if step == first_profiled:
                jax.profiler.start_trace(profile)
            state, measured = step_function(state, batch, teacher_state)
            if step == last_profiled:
                jax.block_until_ready(measured)
                jax.profiler.stop_trace()
            log.add(step, measured, waited)
            if step == start + 1:  # compilation is no part of the speed that is reported
                jax.block_until_ready(measured)
                log.restart_clock()

            last = step == stage.total_steps
            evaluating = last or step % eval_every == 0
            preempted = stage.preemption.reached(step)
            saving = evaluating or preempted or step % save_every == 0
            if saving or step % stage.config.log_every == 0:
                log.write(step, state, batch)
            if evaluating:
                metrics = evaluate_now(state, step)
            if saving:
                stage.checkpoints.save(
                    step,
                    {
                        "model": nnx.merge_state(state.params, state.batch_stats),
                        "optimizer": state.opt_state,
                    },
                    prefetch.get_state(),
                    metrics if evaluating else None,
                )
            if preempted and not last:
                stage.checkpoints.wait()
                raise Preempted(f"stage {stage.name}, step {step}")
            if evaluating or saving:
                log.restart_clock()
    stage.checkpoints.wait()
    _put_back(stage, model, state)
    return metrics


def _resume(stage: Stage, state: TrainState) -> tuple[int, TrainState, dict[str, Any] | None]:
    """Returns the step, state and data state to go on from."""
    like = {
        "model": nnx.merge_state(state.params, state.batch_stats),
        "optimizer": state.opt_state,
    }
    restored = stage.checkpoints.restore(like)
    step = restored[0] if restored else 0
    stage.checkpoints.discard_after(step)
    if stage.writer is not None:
        names = tuple(stage.config.stages)
        later = names[names.index(stage.name) + 1 :] if step < stage.total_steps else ()
        stage.writer.rewind(stage.name, step, later)
    if restored is None:
        return 0, state, None
    logger.info("stage %s goes on after step %d", stage.name, step)
    params, batch_stats = nnx.split_state(restored[1]["model"], nnx.Param, ...)
    count = jax.device_put(np.asarray(step, np.int32), state.step.sharding)
    return step, TrainState(count, params, batch_stats, restored[1]["optimizer"]), restored[2]


def _evaluator(stage: Stage, graphdefs: GraphDefs) -> Callable[..., dict[str, float]]:
    eval_step = make_eval_step(graphdefs, stage.pixels)

    def evaluate_now(state: TrainState, step: int, write: bool = True) -> dict[str, float]:
        metrics = evaluate(
            lambda batch: eval_step(state.params, state.batch_stats, batch),
            stage.dataset,
            stage.config.eval_batch_size,
            stage.mesh,
            num_workers=stage.config.data.num_workers,
        )
        if write and stage.writer is not None:
            epoch = step / stage.steps_per_epoch
            stage.writer.write(stage.name, "eval", step, {"epoch": epoch, **metrics})
        return metrics

    return evaluate_now


def _put_back(stage: Stage, model: nnx.Module, state: TrainState) -> None:
    trained = nnx.merge_state(state.params, state.batch_stats)
    nnx.update(model, sharding.gather(stage.mesh, trained))
    model.eval()


def _profiled_steps(stage: Stage, start: int) -> tuple[int, int, str]:
    """Returns the first and last step to profile, 0 for none, and where to."""
    first, last = stage.config.profile_steps
    if stage.writer is None or not start < first <= stage.total_steps:
        return 0, 0, ""
    return first, min(last, stage.total_steps), stage.writer.profile_directory
