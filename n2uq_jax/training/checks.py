"""What makes a configuration wrong, found before anything runs."""

import math
from collections.abc import Collection
from typing import Any

from ml_collections import ConfigDict

from n2uq_jax import models
from n2uq_jax.data import Dataset
from n2uq_jax.quantizers.bits import check_bits
from n2uq_jax.training.optimizer import SCHEDULES

DTYPES = ("float32", "bfloat16")


def check_config(config: ConfigDict) -> None:
    """Raises if a configuration contradicts itself.

    Args:
      config: the configuration.

    Raises:
      ValueError: naming the field, what it holds and what was expected.
    """
    _check_model(config.model)
    _check_data(config)
    for field in ("fsdp", "slices"):
        _check_count(f"mesh.{field}", config.mesh[field], 1)
    _check_count("mesh.data", config.mesh.data, 1, optional=True)
    for field in ("keep_checkpoints", "log_every"):
        _check_count(field, config[field], 1)
    _check_count("checkpoint_every", config.checkpoint_every, 1, optional=True)
    _check_number("eval_every", config.eval_every, 0, above=True)
    if config.profile_steps is not None:
        steps = config.profile_steps
        if len(steps) != 2 or not 1 <= steps[0] <= steps[1]:
            raise ValueError(
                f"profile_steps must be a first and a last step from 1 on, got {steps}."
            )
    if not config.stages:
        raise ValueError("stages must name at least one stage, got none.")
    if len(set(config.stages)) < len(config.stages):
        raise ValueError(f"stages must differ from each other, got {', '.join(config.stages)}.")
    for i, name in enumerate(config.stages):
        if name not in config or not isinstance(config[name], ConfigDict):
            raise ValueError(f"stages names {name!r}, but config.{name} is no stage.")
        _check_stage(name, config[name], config.stages[:i], config.stages)
    if config.export and not config[config.stages[-1]].quantized:
        raise ValueError(f"export wants a quantized last stage, got {config.stages[-1]!r}.")


def check_fit(config: ConfigDict, dataset: Dataset) -> None:
    """Raises if a configuration does not fit the data set that it names.

    Args:
      config: one that :func:`check_config` passes.
      dataset: the data set.

    Raises:
      ValueError: naming the field, what it holds and what was expected.
    """
    if config.batch_size > len(dataset.train):
        raise ValueError(
            f"batch_size must be at most the {len(dataset.train)} training images of "
            f"{dataset.name!r}, got {config.batch_size}."
        )


def _check_model(model: ConfigDict) -> None:
    known = [name for name in models.names() if not name.startswith("torchvision/")]
    _check_choice("model.name", model.name, known)
    for field in ("w_bits", "a_bits"):
        check_bits(f"model.{field}", model[field])
    _check_choice("model.dtype", model.dtype, DTYPES)
    for field in ("width", "stem_stride"):
        _check_count(f"model.{field}", model[field], 1)


def _check_data(config: ConfigDict) -> None:
    if not 0 <= config.seed < 2**32:
        raise ValueError(f"seed must be from 0 to 2**32 - 1, got {config.seed}.")
    data = config.data
    _check_count("data.image_size", data.image_size, 1, optional=True)
    _check_count("data.crop_padding", data.crop_padding, 0, optional=True)
    for field, least in (("num_workers", 0), ("prefetch", 1), ("max_bad_records", 0)):
        _check_count(f"data.{field}", data[field], least)
    _check_count("batch_size", config.batch_size, 1)
    _check_count("eval_batch_size", config.eval_batch_size, 1)
    if config.accumulate < 1 or config.batch_size % config.accumulate:
        raise ValueError(
            f"accumulate must divide batch_size={config.batch_size}, got {config.accumulate}."
        )
    if config.batch_size // config.accumulate < 2:
        raise ValueError(
            "batch_size must be at least two images for each of accumulate's microbatches, whose "
            f"variance is normalized by; got {config.batch_size} with "
            f"accumulate={config.accumulate}."
        )
    _check_choice("batch_norm", config.batch_norm, ("global", "per_device"))


def _check_stage(
    name: str, stage: ConfigDict, earlier: Collection[str], stages: Collection[str]
) -> None:
    for field in ("epochs", "learning_rate", "quantizer_lr_factor", "weight_decay"):
        _check_number(f"{name}.{field}", stage[field], 0)
    _check_choice(f"{name}.schedule", stage.schedule, SCHEDULES)
    _check_number(f"{name}.warmup_epochs", stage.warmup_epochs, 0)
    if stage.warmup_epochs > stage.epochs:
        raise ValueError(
            f"{name}.warmup_epochs must be at most the stage's {stage.epochs:g} epochs, got "
            f"{stage.warmup_epochs:g}."
        )
    for field in ("label_weight", "label_smoothing"):
        _check_number(f"{name}.{field}", stage[field], 0, 1)
    _check_number(f"{name}.temperature", stage.temperature, 0, above=True)
    for field in ("init", "teacher"):
        if stage[field] in stages and stage[field] not in earlier:
            raise ValueError(
                f"{name}.{field} must name an earlier stage, got {stage[field]!r}; the stages are "
                f"{', '.join(stages)}."
            )


def _check_choice(field: str, value: Any, choices: Collection[str]) -> None:
    if value not in choices:
        raise ValueError(f"{field} must be one of {', '.join(choices)}; got {value!r}.")


def _check_count(field: str, value: int | None, least: int, *, optional: bool = False) -> None:
    if value is None and optional:
        return
    if value is None or value < least:
        raise ValueError(f"{field} must be at least {least}, got {value}.")


def _check_number(
    field: str, value: float, least: float, most: float = math.inf, *, above: bool = False
) -> None:
    if not (math.isfinite(value) and least <= value <= most) or (above and value == least):
        kind = f"above {least}" if above else f"at least {least}"
        kind = kind if most == math.inf else f"in {least:g}..{most:g}"
        raise ValueError(f"{field} must be finite and {kind}, got {value}.")
