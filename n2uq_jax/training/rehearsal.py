"""A run without its arrays: every stage is built and traced before the first one trains.

What would end a run days later, at the start of its last stage, ends it here within seconds.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from n2uq_jax import data
from n2uq_jax.data import Dataset
from n2uq_jax.models.copying import check_shared_state
from n2uq_jax.models.to_integer import paper_form
from n2uq_jax.training.initialization import (
    has_integer_form,
    kind_of_init,
    kind_of_teacher,
    make_teacher,
)
from n2uq_jax.training.memory import StepMemory, step_memory
from n2uq_jax.training.optimizer import learning_rate_schedule, make_optimizer
from n2uq_jax.training.state import create_state, forward, split_model
from n2uq_jax.training.step import Pixels, make_train_step, pixels_of
from n2uq_jax.workdir.checkpoints import saved_steps
from n2uq_jax.workdir.config_json import describe_dataset, read_workdir
from n2uq_jax.workdir.model import abstract_model


@dataclasses.dataclass(frozen=True)
class RehearsedStage:
    """A stage that can be trained.

    Args:
      name: as in ``config.stages``.
      model: its network, abstract.
      teacher: what it learns from, abstract; None for labels.
      image_dtype: of the network's input.
      steps: how many it takes.
      memory: of a step; None unless steps were traced.
    """

    name: str
    model: nnx.Module
    teacher: nnx.Module | None
    image_dtype: jnp.dtype
    steps: int
    memory: StepMemory | None = None


def rehearse(
    config: ConfigDict, dataset: Dataset, mesh: Mesh, *, trace_steps: bool = False
) -> list[RehearsedStage]:
    """Builds every stage of a run abstractly, and traces its network, teacher and maybe its step.

    Args:
      config: one that :func:`~n2uq_jax.training.checks.check_config` passes.
      dataset: what it trains on.
      mesh: the devices.
      trace_steps: whether to trace the training steps, too, and to estimate their memory; that
        takes a second a stage.

    Returns:
      One entry a stage.

    Raises:
      FileNotFoundError: if a stage's ``init`` or ``teacher``, or a file of weights, is not there.
      ValueError: if one does not fit, or a network does not take the images.
    """
    for i, name in enumerate(config.stages):
        _check_names(name, config[name], config.stages[:i])
    about = describe_dataset(dataset)
    dtype = "float64" if config.x64 else config.model.dtype
    per_epoch = data.steps_per_epoch(dataset, config.batch_size)
    models: dict[str, nnx.Module] = {}
    stages = []
    for name in config.stages:
        model = abstract_model(config, about, name)
        _check_init(name, config[name].init, model, models)
        teacher = _teacher(name, config, dataset, models)
        models[name] = model
        pixels = pixels_of(model, dataset, dtype)
        _check_logits(f"stage {name}", model, dataset, pixels)
        if teacher is not None:
            _check_logits(f"{name}.teacher", teacher, dataset, pixels_of(teacher, dataset, dtype))
        steps = round(config[name].epochs * per_epoch)
        stages.append(RehearsedStage(name, model, teacher, jnp.dtype(pixels.dtype), steps))
    if not trace_steps:
        return stages
    return [
        dataclasses.replace(stage, memory=_trace_step(stage, config, dataset, mesh))
        for stage in stages
    ]


def _check_names(name: str, stage: ConfigDict, earlier: Sequence[str]) -> None:
    """Looks up what all stages start from and learn from, before the first network is built."""
    if stage.init is not None:
        kind_of_init(stage.init, earlier, f"{name}.init")
    if stage.teacher is not None:
        kind_of_teacher(stage.teacher, stage.teacher_weights, earlier, f"{name}.teacher")


def _abstract_workdir(workdir: str, field: str) -> nnx.Module:
    contents = read_workdir(workdir)
    for stage in reversed(contents["config"]["stages"]):
        if saved_steps(Path(workdir) / "checkpoints" / stage):
            return abstract_model(contents["config"], contents["dataset"], stage)
    raise FileNotFoundError(f"{field}: workdir {workdir} has no checkpoint of any stage.")


def _check_init(
    stage: str, source: str | None, model: nnx.Module, earlier: dict[str, nnx.Module]
) -> None:
    if source is None:
        return
    field = f"{stage}.init"
    kind = kind_of_init(source, earlier, field)
    try:
        if kind == "weights":
            named = nnx.eval_shape(lambda: paper_form(model)) if has_integer_form(model) else model
            _check_weights(named, source)
        else:
            known = earlier[source] if kind == "stage" else _abstract_workdir(source, field)
            check_shared_state(known, model)
    except ValueError as error:
        raise ValueError(f"{field}={source}: {error}") from error


def _teacher(
    stage: str, config: ConfigDict, dataset: Dataset, earlier: dict[str, nnx.Module]
) -> nnx.Module | None:
    name, weights = config[stage].teacher, config[stage].teacher_weights
    if name is None:
        return None
    kind = kind_of_teacher(name, weights, earlier, f"{stage}.teacher")
    if kind == "stage":
        return earlier[name]
    if kind == "workdir":
        return _abstract_workdir(name, f"{stage}.teacher")
    teacher = nnx.eval_shape(lambda: make_teacher(name, dataset, config))
    try:
        _check_weights(teacher, weights)
    except ValueError as error:
        raise ValueError(f"{stage}.teacher_weights={weights}: {error}") from error
    return teacher


def _check_weights(model: nnx.Module, source: str) -> None:
    from n2uq_jax import interop

    interop.load_checkpoint(nnx.clone(model), source)


def _check_logits(what: str, model: nnx.Module, dataset: Dataset, pixels: Pixels) -> None:
    graphdefs, params, batch_stats = split_model(model)
    images = jax.ShapeDtypeStruct((1, *dataset.image_shape), jnp.uint8)

    def logits(params, batch_stats, images):
        return forward(graphdefs.eval, params, batch_stats, pixels(images))[0]

    try:
        found = jax.eval_shape(logits, params, batch_stats, images)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise ValueError(
            f"{what} does not take images of shape {dataset.image_shape}: {error}"
        ) from error
    if found.shape != (1, dataset.num_classes):
        raise ValueError(
            f"{what} must have a logit for each of the {dataset.num_classes} classes of "
            f"{dataset.name!r}, got {found.shape[-1]}."
        )


def _trace_step(
    stage: RehearsedStage, config: ConfigDict, dataset: Dataset, mesh: Mesh
) -> StepMemory:
    settings, teacher = config[stage.name], stage.teacher
    dtype = "float64" if config.x64 else config.model.dtype
    pixels = Pixels(dataset.mean, dataset.std, stage.image_dtype)
    graphdefs, params, batch_stats = split_model(stage.model)
    schedule = learning_rate_schedule(settings, 1, 1)
    optimizer = make_optimizer(settings, schedule, params)
    state = jax.eval_shape(lambda p, b: create_state(p, b, optimizer), params, batch_stats)
    if teacher is not None:
        teacher.eval()
    step = make_train_step(
        graphdefs,
        optimizer,
        settings,
        pixels,
        teacher=None if teacher is None else nnx.graphdef(teacher),
        teacher_pixels=None if teacher is None else pixels_of(teacher, dataset, dtype),
        accumulate=config.accumulate,
        batch_norm_groups=mesh.size if config.batch_norm == "per_device" else 1,
    )
    size = config.batch_size
    batch = {
        "image": jax.ShapeDtypeStruct((size, *dataset.image_shape), jnp.uint8),
        "label": jax.ShapeDtypeStruct((size,), jnp.int32),
    }
    teacher_state = None if teacher is None else nnx.state(teacher)
    jax.eval_shape(step, state, batch, teacher_state)
    local = size // (mesh.size * config.accumulate)
    images = jax.ShapeDtypeStruct((local, *dataset.image_shape), jnp.uint8)
    return step_memory(graphdefs, state, teacher_state, images, pixels, mesh)
