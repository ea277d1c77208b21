"""A workdir's ``config.json``: what was trained, on what."""

import fnmatch
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from n2uq_jax.data import Dataset
from n2uq_jax.workdir.lock import LOCK
from n2uq_jax.workdir.resume import changes, set_aside
from n2uq_jax.workdir.room import naming

logger = logging.getLogger(__name__)

CHANGEABLE = (
    "checkpoint_every",
    "data.dir",
    "data.max_bad_records",
    "data.num_workers",
    "data.prefetch",
    "eval_batch_size",
    "eval_every",
    "export",
    "figures",
    "keep_checkpoints",
    "log_every",
    "mesh.*",
    "profile_steps",
)
"""Fields that may differ when a run goes on: they say where and how it runs, not what it computes.

Devices sum in another order, so the last bits of a float32 run do depend on the mesh.
"""

_SENTINELS: dict[str, Any] = {
    "data.dir": "",
    "data.image_size": 0,
    "data.crop_padding": -1,
    "mesh.data": -1,
    "checkpoint_every": 0,
    "profile_steps": [0, 0],
    "*.init": "",
    "*.teacher": "",
    "*.teacher_weights": "",
}
"""What version 0.1 wrote for None, and what an empty flag gives on the command line."""


def open_workdir(
    workdir: Path, config: ConfigDict, dataset: Dataset, *, restart: bool = False
) -> None:
    """Creates a workdir, or checks that it belongs to the same run.

    ``config.json`` holds the configuration and, under ``"dataset"``, what the network needs to
    know of its images: ``num_classes``, ``image_shape``, ``preprocessing``, ``class_names``. Where
    batch statistics are those of a device, it also holds the number of ``"devices"``.
    Where a run goes on with other fields, it holds these from then on. Stages that do not depend
    on them, such as any :data:`CHANGEABLE` one, are kept.

    Args:
      workdir: the folder.
      config: the configuration of this run.
      dataset: what it trains on.
      restart: set the checkpoints of stages aside that depend on what has changed.

    Raises:
      ValueError: if such stages have checkpoints and ``restart`` is False; the message names every
        field that differs, and the stages.
    """
    wanted = {
        "config": json.loads(config.to_json()),
        "dataset": describe_dataset(dataset),
    }
    if config.batch_norm == "per_device":
        wanted["devices"] = jax.device_count()
    path, checkpoints = workdir / "config.json", workdir / "checkpoints"
    if path.exists():
        # Version 0.1 wrote no number of devices.
        found = {"devices": wanted.get("devices"), **read_workdir(workdir)}
        changed = changes(found, {"devices": None, **wanted}, CHANGEABLE, checkpoints)
        if changed.anew and not restart:
            raise ValueError(
                f"workdir {workdir} holds a run with another configuration: {changed}. --restart "
                "does that and sets the old checkpoints aside; or choose another workdir, or the "
                "same configuration to resume."
            )
        for stage in changed.anew:
            logger.info(
                "The checkpoints of %s are now in %s.", stage, set_aside(checkpoints, stage)
            )
        if changed.fields:
            logger.info("%s", changed)
    elif workdir.exists() and any(path.name != LOCK for path in workdir.iterdir()):
        raise ValueError(
            f"workdir must be empty or hold a run; {workdir} holds files, but no config.json."
        )
    workdir.mkdir(parents=True, exist_ok=True)
    write_json(path, wanted)  # first: a folder without it is taken for somebody else's
    checkpoints.mkdir(exist_ok=True)


def describe_dataset(dataset: Dataset) -> dict[str, Any]:
    """Returns what a network needs to know of its images: the ``dataset`` part of the file.

    Args:
      dataset: the data set.
    """
    return {
        "num_classes": dataset.num_classes,
        "image_shape": list(dataset.image_shape),
        "mean": list(dataset.mean),
        "std": list(dataset.std),
        "preprocessing": dataset.preprocessing,
        "class_names": list(dataset.class_names) if dataset.class_names else None,
    }


def read_workdir(workdir: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a workdir's ``config.json``.

    Args:
      workdir: the folder.

    Returns:
      A dict with ``"config"`` and ``"dataset"``.

    Raises:
      FileNotFoundError: if it is no workdir.
      ValueError: if the file is not what a run wrote.
    """
    path = Path(workdir) / "config.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"workdir must be a folder that n2uq train wrote, but {path} does not exist."
        )
    try:
        contents = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}.") from error
    for key in ("config", "dataset"):
        if not isinstance(contents, dict) or not isinstance(contents.get(key), dict):
            raise ValueError(f"{path} is damaged: it has no {key!r}.")
    return {**contents, "config": without_sentinels(contents["config"])}


def without_sentinels(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a configuration with None where an older one, or an empty flag, has another value.

    Args:
      config: nested dicts, whole or in part.
    """

    def clean(value: Any, field: str) -> Any:
        if isinstance(value, Mapping):
            return {key: clean(v, f"{field}.{key}" if field else key) for key, v in value.items()}
        for pattern, sentinel in _SENTINELS.items():
            plain = list(value) if isinstance(value, tuple) else value
            if fnmatch.fnmatchcase(field, pattern) and plain == sentinel:
                return None
        return value

    return clean(config, "")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes a JSON file in one step: it is there whole or not at all.

    Args:
      path: where to.
      value: what ``json`` can write.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    with naming(path):
        try:
            temporary.write_text(json.dumps(value, indent=2) + "\n")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
