"""Reads a configuration: a file, and the fields that the command line changes."""

import argparse
import os
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from n2uq_jax.cli.parser import CONFIG
from n2uq_jax.spelling import similar

if TYPE_CHECKING:
    from ml_collections import ConfigDict


def add_config(parser: argparse.ArgumentParser, default: str) -> None:
    """Adds ``--config``.

    Args:
      parser: gets the flag.
      default: the config's name where the flag is missing.
    """
    parser.add_argument(
        CONFIG,
        default=default,
        metavar="NAME",
        help="config file or installed name; n2uq check --fields lists them (default: %(default)s)",
    )


def read_config(name: str, overrides: Sequence[str] = ()) -> "ConfigDict":
    """Reads a configuration.

    Types are those of the file: an override is read as what it replaces. ``None`` takes the value
    away from a field that may be without one.

    Args:
      name: as for :func:`n2uq_jax.training.config_file.find_config`.
      overrides: such as ``"--config.batch_size=64"``.

    Returns:
      The configuration, locked.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if the file fails, or an override does not fit.
    """
    from absl import flags
    from ml_collections import config_flags

    config = _load(name)
    for override in overrides:
        _check_field(config, override)
    removed, overrides = _removals(overrides)
    command = ["n2uq", *overrides]
    values = flags.FlagValues()
    try:
        holder = config_flags.DEFINE_config_dict(
            "config", config, flag_values=values, sys_argv=command
        )
        values(command)
    except (flags.Error, ValueError, TypeError) as error:
        raise ValueError(str(error).removeprefix("flag ")) from error
    for group, _, name in (field.rpartition(".") for field in removed):
        node = holder.value
        for key in group.split(".") if group else ():
            node = node[key]
        node[name] = None
    return holder.value


def _removals(overrides: Sequence[str]) -> tuple[set[str], list[str]]:
    """Returns the fields whose last override is None and that may be None, and all others' flags.

    The parser of flags knows a field's type alone, so for it None is a string, or no number.
    """
    from n2uq_jax.training.schema import field_of

    removed: set[str] = set()
    kept = []
    for override in overrides:
        path, value = _field(override), override.partition("=")[2]
        field = field_of(path)
        if value == "None" and field is not None and field.optional:
            removed.add(path)
        else:
            removed.discard(path)
            kept.append(override)
    return removed, [override for override in kept if _field(override) not in removed]


def _field(override: str) -> str:
    return override.partition("=")[0].partition(".")[2]


def _load(name: str) -> "ConfigDict":
    from ml_collections import ConfigDict

    from n2uq_jax.training.config_file import find_config, load_config

    path = find_config(name)
    try:
        config = load_config(str(path))
    except Exception as error:
        line = _line(error, path)
        raise ValueError(f"config file {line}: {type(error).__name__}: {error}") from error
    if not isinstance(config, ConfigDict):
        raise ValueError(
            f"config file {path}: get_config() must return a ConfigDict, as default_config() "
            f"does; got {type(config).__name__}."
        )
    return config


def _line(error: Exception, path: Path) -> str:
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if os.path.abspath(frame.filename) == os.path.abspath(path):
            return f"{path}:{frame.lineno}"
    return str(path)


def _check_field(config: "ConfigDict", override: str) -> None:
    from ml_collections import ConfigDict

    from n2uq_jax.training.checks import leaves

    flag = override.partition("=")[0]
    path = _field(override)
    fields = [name for name, _ in leaves(config)]
    node = config
    for key in path.split("."):
        if not isinstance(node, ConfigDict) or key not in node:
            last = path.rpartition(".")[2]
            nested = [field for field in fields if field.rpartition(".")[2] == last]
            meant = f"; did you mean {nested[0]}?" if nested else similar(path, fields)
            raise ValueError(f"the config has no field {path}{meant}")
        node = node[key]
    if isinstance(node, ConfigDict):
        raise ValueError(f"{flag} is a group of fields: {', '.join(node)}; change one of them")
    if "=" not in override and not isinstance(node, bool):
        raise ValueError(f"{flag} lacks its value: {flag}=VALUE")
