"""What makes a configuration wrong, found before anything runs."""

from ml_collections import ConfigDict


def check_config(config: ConfigDict) -> None:
    """Raises if a configuration contradicts itself.

    Args:
      config: the configuration.

    Raises:
      ValueError: naming the field, what it holds and what was expected.
    """
    if config.batch_size < 1 or config.eval_batch_size < 1:
        raise ValueError(
            f"batch_size and eval_batch_size must be positive, got {config.batch_size} and "
            f"{config.eval_batch_size}."
        )
    if config.accumulate < 1 or config.batch_size % config.accumulate:
        raise ValueError(
            f"accumulate must divide batch_size={config.batch_size}, got {config.accumulate}."
        )
    if config.batch_norm not in ("global", "per_device"):
        raise ValueError(f"batch_norm must be 'global' or 'per_device', got {config.batch_norm!r}.")
    if not config.stages:
        raise ValueError("stages must name at least one stage, got none.")
    if len(set(config.stages)) < len(config.stages):
        raise ValueError(f"stages must differ from each other, got {', '.join(config.stages)}.")
    for i, name in enumerate(config.stages):
        if name not in config or not isinstance(config[name], ConfigDict):
            raise ValueError(f"stages names {name!r}, but config.{name} is no stage.")
        stage = config[name]
        if stage.epochs < 0 or stage.learning_rate < 0:
            raise ValueError(
                f"{name}.epochs and {name}.learning_rate must not be negative, got "
                f"{stage.epochs} and {stage.learning_rate}."
            )
        if not 0 <= stage.label_weight <= 1:
            raise ValueError(f"{name}.label_weight must be in 0..1, got {stage.label_weight}.")
        for field in ("init", "teacher"):
            source = stage[field]
            if source in config.stages and source not in config.stages[:i]:
                raise ValueError(
                    f"{name}.{field} must name an earlier stage, got {source!r}; the stages are "
                    f"{', '.join(config.stages)}."
                )
    first, last = config.profile_steps
    if (first, last) != (0, 0) and not 1 <= first <= last:
        raise ValueError(
            f"profile_steps must be a first and a last step from 1 on, got {first} and {last}."
        )
    if config.export and not config[config.stages[-1]].quantized:
        raise ValueError(f"export wants a quantized last stage, got {config.stages[-1]!r}.")
