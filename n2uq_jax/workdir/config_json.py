"""A workdir's ``config.json``: what was trained, on what."""

import json
import os
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from n2uq_jax.data import Dataset


def open_workdir(workdir: Path, config: ConfigDict, dataset: Dataset) -> None:
    """Creates a workdir, or checks that it belongs to the same run.

    ``config.json`` holds the configuration and, under ``"dataset"``, what the network needs to
    know of its images: ``num_classes``, ``image_shape``, ``preprocessing``, ``class_names``.

    Args:
      workdir: the folder.
      config: the configuration of this run.
      dataset: what it trains on.

    Raises:
      ValueError: if the folder holds a run with another configuration; the message names every
        field that differs.
    """
    wanted = {
        "config": json.loads(config.to_json()),
        "dataset": {
            "num_classes": dataset.num_classes,
            "image_shape": list(dataset.image_shape),
            "mean": list(dataset.mean),
            "std": list(dataset.std),
            "preprocessing": dataset.preprocessing,
            "class_names": list(dataset.class_names) if dataset.class_names else None,
        },
    }
    path = workdir / "config.json"
    if path.exists():
        found = _flat(read_workdir(workdir))
        changed = [
            f"{key} was {found.get(key)!r} and is now {value!r}"
            for key, value in _flat(wanted).items()
            if found.get(key) != value
        ]
        if changed:
            raise ValueError(
                f"workdir {workdir} holds a run with another configuration: {'; '.join(changed)}. "
                "Choose another workdir, or the same configuration to resume."
            )
        return
    if workdir.exists() and any(workdir.iterdir()):
        raise ValueError(
            f"workdir must be empty or hold a run; {workdir} holds files, but no config.json."
        )
    (workdir / "checkpoints").mkdir(parents=True, exist_ok=True)
    write_json(path, wanted)


def read_workdir(workdir: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a workdir's ``config.json``.

    Args:
      workdir: the folder.

    Returns:
      A dict with ``"config"`` and ``"dataset"``.

    Raises:
      FileNotFoundError: if it is no workdir.
      ValueError: if the file is damaged.
    """
    path = Path(workdir) / "config.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"workdir must be a folder that n2uq train wrote, but {path} does not exist."
        )
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes a JSON file in one step: it is there whole or not at all.

    Args:
      path: where to.
      value: what ``json`` can write.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(value, indent=2) + "\n")
    temporary.replace(path)


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    return {
        name: leaf
        for key, child in value.items()
        for name, leaf in _flat(child, f"{prefix}.{key}" if prefix else key).items()
    }
