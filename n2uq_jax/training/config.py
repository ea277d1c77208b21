"""The configuration of a run, with the defaults that its fields have."""

from collections.abc import Iterable
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from n2uq_jax.training.fields import Field
from n2uq_jax.training.schema import FIELDS, STAGE


def default_config() -> ConfigDict:
    """Returns every field of a configuration with its default.

    A config file calls this in its ``get_config()`` and changes what it needs; the command line
    changes the rest: ``--config.batch_size=256``. ``n2uq check --fields`` lists the fields, as
    :mod:`n2uq_jax.training.schema` does.

    A field that is None until it is given a value has a type nevertheless, so that the command line
    can set it; ``--config.FIELD=None`` takes the value away.

    Returns:
      The configuration; a misspelt field raises an error.
    """
    config = _fill(FIELDS)
    config.float = stage_config(quantized=False)
    config.quantized = stage_config(quantized=True, init="float", teacher="float")
    # A third stage, for who names it: fine-tunes the integer-only form of the quantized network.
    config.integer = stage_config(
        quantized=True, integer_only=True, init="quantized", teacher="float", epochs=5.0
    )
    config.integer.learning_rate = 2.5e-4
    return config.lock()


def stage_config(*, quantized: bool, **changes: Any) -> ConfigDict:
    """Returns the fields of one training stage with their defaults.

    Args:
      quantized: whether the network has quantizers in this stage; False for its float twin.
      **changes: fields that differ from their defaults.

    Returns:
      The stage's part of a configuration.
    """
    stage = _fill(STAGE)
    stage.update(changes, quantized=quantized)
    return stage


def _fill(fields: Iterable[Field]) -> ConfigDict:
    config = ConfigDict()
    for field in fields:
        *groups, name = field.name.split(".")
        node = config
        for group in groups:
            if group not in node:
                node[group] = ConfigDict()
            node = node[group]
        node[name] = placeholder(field.kind.type) if field.default is None else field.default
    return config
