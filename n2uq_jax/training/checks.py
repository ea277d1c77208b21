"""What makes a configuration wrong, found before anything runs."""

from collections.abc import Collection, Iterator
from typing import Any

from ml_collections import ConfigDict

from n2uq_jax.data import Dataset
from n2uq_jax.nn.methods import check_method
from n2uq_jax.spelling import similar
from n2uq_jax.training.schema import FIELDS, STAGE, field_of


def check_config(config: ConfigDict) -> None:
    """Raises if a field is unknown, missing or wrong, or a configuration contradicts itself.

    Args:
      config: the configuration.

    Raises:
      ValueError: naming the field, what it holds and what was expected.
    """
    found = dict(leaves(config))
    stages = [name for name, value in config.items() if isinstance(value, ConfigDict)]
    stages = [name for name in stages if all(f.name.split(".")[0] != name for f in FIELDS)]
    expected = [field.name for field in FIELDS]
    expected += [f"{stage}.{field.name}" for stage in stages for field in STAGE]
    for path in found:
        if path not in expected:
            raise ValueError(f"{path} is no field of a configuration{similar(path, expected)}")
    for path in expected:
        if path not in found:
            raise ValueError(f"{path} is missing; default_config() and stage_config() have it.")
    for path, value in found.items():
        field = field_of(path)
        assert field is not None, path
        if fault := field.fault(value):
            raise ValueError(f"{path} {fault}.")
    try:
        check_method(config.model.method, w_bits=config.model.w_bits, a_bits=config.model.a_bits)
    except ValueError as error:
        raise ValueError(f"model.{error}") from error
    _check_batch(config)
    for i, name in enumerate(config.stages):
        if name not in stages:
            meant = similar(name, stages) or f"; the stages are {', '.join(stages)}."
            raise ValueError(f"stages names {name!r}, but config.{name} is no stage{meant}")
        _check_stage(name, config[name], config.stages[:i], config.stages)
    if config.export and not config[config.stages[-1]].quantized:
        raise ValueError(f"export wants a quantized last stage, got {config.stages[-1]!r}.")


def leaves(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields every field of a configuration.

    Args:
      config: the configuration, or a group of it.
      prefix: of the names.

    Yields:
      A path such as ``"data.flip"``, and what the field holds.
    """
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


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


def _check_batch(config: ConfigDict) -> None:
    if config.batch_size % config.accumulate:
        raise ValueError(
            f"accumulate must divide batch_size={config.batch_size}, got {config.accumulate}."
        )
    if config.batch_size // config.accumulate < 2:
        raise ValueError(
            "batch_size must be at least two images for each of accumulate's microbatches, whose "
            f"variance is normalized by; got {config.batch_size} with "
            f"accumulate={config.accumulate}."
        )


def _check_stage(
    name: str, stage: ConfigDict, earlier: Collection[str], stages: Collection[str]
) -> None:
    if stage.warmup_epochs > stage.epochs:
        raise ValueError(
            f"{name}.warmup_epochs must be at most the stage's {stage.epochs:g} epochs, got "
            f"{stage.warmup_epochs:g}."
        )
    for field in ("init", "teacher"):
        if stage[field] in stages and stage[field] not in earlier:
            raise ValueError(
                f"{name}.{field} must name an earlier stage, got {stage[field]!r}; the stages are "
                f"{', '.join(stages)}."
            )
