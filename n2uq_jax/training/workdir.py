"""A workdir: what a run leaves behind, and how to get the trained network out of it."""

import json
import os
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from n2uq_jax import models
from n2uq_jax.data import Dataset
from n2uq_jax.data import load as load_data
from n2uq_jax.models.resnet import SMALL_DEPTHS
from n2uq_jax.training.checkpoints import Checkpoints
from n2uq_jax.training.config import write_json


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
    """
    path = Path(workdir) / "config.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"workdir must be a folder that n2uq_jax.main wrote, but {path} does not exist."
        )
    return json.loads(path.read_text())


def open_dataset(settings: dict[str, Any], data_dir: str | None = None) -> Dataset:
    """Opens the data set that a configuration names.

    Args:
      settings: the ``data`` part of a configuration.
      data_dir: a folder that replaces the configured one.

    Returns:
      The data set.
    """
    return load_data(
        settings["name"],
        data_dir=data_dir or settings["dir"] or None,
        image_size=settings["image_size"] or None,
        crop_padding=None if settings["crop_padding"] < 0 else settings["crop_padding"],
        flip=settings["flip"],
    )


def make_model(
    model: dict[str, Any], dataset: dict[str, Any], *, quantized: bool, seed: int, x64: bool = False
) -> nnx.Module:
    """Builds the network that a configuration describes, with random parameters.

    Args:
      model: the ``model`` part of a configuration.
      dataset: the ``dataset`` part of a workdir's ``config.json``.
      quantized: False for the float twin.
      seed: of the parameters.
      x64: parameters and computation in float64.

    Returns:
      The network.
    """
    options = {}
    if model["name"] in SMALL_DEPTHS:
        options = {"width": model["width"], "stem_stride": model["stem_stride"]}
    channels = dataset["image_shape"][-1]
    if channels != 3:
        options["in_features"] = channels
    return models.create(
        model["name"],
        w_bits=model["w_bits"] if quantized else None,
        a_bits=model["a_bits"] if quantized else None,
        quantize_downsample=model["quantize_downsample"],
        num_classes=dataset["num_classes"],
        dtype=jnp.float64 if x64 else jnp.dtype(model["dtype"]),
        param_dtype=jnp.float64 if x64 else jnp.float32,
        rngs=nnx.Rngs(seed),
        **options,
    )


def load(
    workdir: str | os.PathLike[str], *, stage: str | None = None, best: bool = False
) -> nnx.Module:
    """Loads a trained network from a workdir.

    Args:
      workdir: what ``python -m n2uq_jax.main`` wrote.
      stage: name of the training stage; None for the last that has a checkpoint.
      best: the checkpoint with the highest top-1 instead of the newest.

    Returns:
      The network in evaluation mode.

    Raises:
      FileNotFoundError: if it is no workdir, or has no checkpoint.
      ValueError: if there is no such stage.
      CheckpointError: if no checkpoint can be read.
    """
    workdir = Path(workdir)
    contents = read_workdir(workdir)
    config = contents["config"]
    if stage is not None and stage not in config["stages"]:
        raise ValueError(f"stage must be one of {', '.join(config['stages'])}, got {stage!r}.")
    for name in reversed(config["stages"]) if stage is None else [stage]:
        directory = workdir / "checkpoints" / name
        if not directory.is_dir():
            continue
        model = make_model(
            config["model"],
            contents["dataset"],
            quantized=config[name]["quantized"],
            seed=config["seed"],
            x64=config["x64"],
        )
        checkpoints = Checkpoints(directory, read_only=True)
        try:
            restored = checkpoints.restore({"model": nnx.state(model)}, best=best)
        finally:
            checkpoints.close()
        if restored is not None:
            nnx.update(model, restored[1]["model"])
            model.eval()
            return model
    raise FileNotFoundError(f"workdir {workdir} has no checkpoint of {stage or 'any stage'}.")


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    return {
        name: leaf
        for key, child in value.items()
        for name, leaf in _flat(child, f"{prefix}.{key}" if prefix else key).items()
    }
