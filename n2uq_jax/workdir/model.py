"""The data set and the network that a workdir describes, and its trained network."""

import contextlib
import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from n2uq_jax import models
from n2uq_jax.data import Dataset
from n2uq_jax.data import load as load_data
from n2uq_jax.workdir.checkpoints import read_checkpoint
from n2uq_jax.workdir.config_json import read_workdir, without_sentinels
from n2uq_jax.workdir.stages import is_integer_only


def precision(x64: bool) -> contextlib.AbstractContextManager[Any]:
    """Returns a context in which arrays are of float64 where a configuration says so."""
    return jax.enable_x64(True) if x64 else contextlib.nullcontext()


def open_dataset(settings: dict[str, Any], data_dir: str | None = None) -> Dataset:
    """Opens the data set that a configuration names.

    Args:
      settings: the ``data`` part of a configuration, of this version or an older one.
      data_dir: a folder that replaces the configured one.

    Returns:
      The data set.
    """
    settings = without_sentinels({"data": settings})["data"]
    return load_data(
        settings["name"],
        data_dir=data_dir or settings["dir"],
        image_size=settings["image_size"],
        crop_padding=settings["crop_padding"],
        flip=settings["flip"],
        interpolation=settings.get("interpolation", "opencv"),  # which older runs did not write
    )


def make_model(config: Mapping[str, Any], dataset: Mapping[str, Any], stage: str) -> nnx.Module:
    """Builds the network of a stage, with random parameters.

    Args:
      config: a configuration, of this version or an older one.
      dataset: the ``dataset`` part of a workdir's ``config.json``.
      stage: one of the configuration's stages: the float twin, the paper's form or the one whose
        evaluation is integer arithmetic; see :func:`~n2uq_jax.workdir.stages.is_integer_only`.

    Returns:
      The network; within :func:`precision` of the configuration's ``x64``.
    """
    model, x64 = config["model"], config["x64"]
    quantized, integer_only = config[stage]["quantized"], is_integer_only(config, stage)
    options: dict[str, Any] = {}
    if "width" in models.options(model["name"]):
        options = {"width": model["width"], "stem_stride": model["stem_stride"]}
    channels = dataset["image_shape"][-1]
    if channels != 3:
        options["in_features"] = channels
    mean, std = (tuple(dataset[key]) for key in ("mean", "std"))
    if integer_only:
        bits = {key: model[key] for key in ("stream_bits", "stem_bits", "head_bits")}
        options |= {"integer_only": True, "mean": mean, "std": std, **bits}
    network: Any = models.create(
        model["name"],
        w_bits=model["w_bits"] if quantized else None,
        a_bits=model["a_bits"] if quantized else None,
        quantize_downsample=model["quantize_downsample"],
        method=model.get("method", "n2uq"),
        num_classes=dataset["num_classes"],
        dtype=jnp.float64 if x64 else jnp.dtype(model["dtype"]),
        param_dtype=jnp.float64 if x64 else jnp.float32,
        rngs=nnx.Rngs(config["seed"]),
        **options,
    )
    if not integer_only:
        network.normalization = (mean, std)  # read by to_integer_only
    return network


def abstract_model(config: Mapping[str, Any], dataset: Mapping[str, Any], stage: str) -> nnx.Module:
    """Builds the network of a stage with shapes and dtypes in place of arrays.

    Args:
      config: a configuration, of this version or an older one.
      dataset: the ``dataset`` part of a workdir's ``config.json``.
      stage: one of the configuration's stages.

    Returns:
      The network.
    """
    with precision(config["x64"]):
        return nnx.eval_shape(functools.partial(make_model, config, dataset, stage))


def load(
    workdir: str | os.PathLike[str], *, stage: str | None = None, best: bool = False
) -> nnx.Module:
    """Loads a trained network from a workdir.

    Args:
      workdir: what ``n2uq train`` wrote.
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
        model = abstract_model(config, contents["dataset"], name)
        checkpoint = read_checkpoint(directory, {"model": nnx.state(model)}, best=best)
        if checkpoint is not None:
            nnx.update(model, checkpoint.items["model"])
            model.eval()
            return model
    raise FileNotFoundError(f"workdir {workdir} has no checkpoint of {stage or 'any stage'}.")
