"""A workdir made of a PyTorch checkpoint."""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from n2uq_jax import interop, models
from n2uq_jax.data import Dataset
from n2uq_jax.data.dataset import ArraySource
from n2uq_jax.data.tfds import as_dataset
from n2uq_jax.models.resnet import SMALL_DEPTHS
from n2uq_jax.training.config import default_config
from n2uq_jax.workdir.checkpoints import Checkpoints
from n2uq_jax.workdir.config_json import open_workdir, read_workdir
from n2uq_jax.workdir.model import abstract_model, open_dataset


def convert(
    arch: str,
    checkpoint: str | os.PathLike[str],
    workdir: str | os.PathLike[str],
    *,
    w_bits: int | None,
    a_bits: int | None,
    data: str = "imagenet2012",
    data_dir: str | None = None,
) -> None:
    """Writes a workdir that holds the network of a PyTorch checkpoint.

    Whether shortcuts are quantized, the number of classes and the width of a small network are
    read off the checkpoint. The workdir appears whole or not at all.

    Args:
      arch: a name of :func:`n2uq_jax.models.names`.
      checkpoint: what :func:`n2uq_jax.interop.read_checkpoint` reads.
      workdir: a folder that does not exist yet, or is empty.
      w_bits: bit width of the weights, which no checkpoint tells; None for a float network.
      a_bits: bit width of the activations; None exactly if ``w_bits`` is None.
      data: the data set that the network classifies, named as in a configuration. Those of TFDS
        need not be prepared yet.
      data_dir: where the data set is.

    Raises:
      FileNotFoundError: if there is no such checkpoint or data set.
      ValueError: if the checkpoint is damaged or does not fit the network, or there is something
        in ``workdir``.
    """
    workdir = Path(workdir)
    if workdir.exists() and (not workdir.is_dir() or any(workdir.iterdir())):
        raise ValueError(f"workdir must not exist yet or be an empty folder; got {workdir}.")
    if arch not in models.names():
        raise ValueError(f"arch must be one of {', '.join(models.names())}; got {arch!r}.")
    if (w_bits is None) != (a_bits is None):
        raise ValueError(
            "w_bits and a_bits must both be given, or both be None for a float network; "
            f"got w_bits={w_bits}, a_bits={a_bits}."
        )
    state = interop.read_checkpoint(checkpoint)
    config = _config(arch, checkpoint, state, w_bits, a_bits, data, data_dir)
    dataset = _dataset(config, state)

    partial = workdir.with_name(f".{workdir.name}.{os.getpid()}.partial")
    try:
        open_workdir(partial, config, dataset)
        about = read_workdir(partial)["dataset"]
        model = abstract_model(config.to_dict(), about, config.stages[0])
        report = interop.load_state_dict(model, state)
        if report.initial:
            raise ValueError(
                f"checkpoint {checkpoint} has torchvision's names, so {arch} would not be whole: "
                f"{report}. Name it as a stage's init and train, or convert torchvision/{arch}."
            )
        checkpoints = Checkpoints(partial / "checkpoints" / config.stages[0])
        try:
            checkpoints.save(0, {"model": nnx.state(model)}, data={})
        finally:
            checkpoints.close()
        partial.replace(workdir)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _config(
    arch: str,
    checkpoint: str | os.PathLike[str],
    state: Mapping[str, np.ndarray],
    w_bits: int | None,
    a_bits: int | None,
    data: str,
    data_dir: str | None,
) -> ConfigDict:
    config = default_config()
    config.model.name = arch
    # A float shortcut begins with its convolution, a quantized one with its quantizer.
    config.model.quantize_downsample = not any(
        re.fullmatch(r".*\.downsample\.0\.weight", name) for name in state
    )
    if arch in SMALL_DEPTHS and "conv1.weight" in state:
        config.model.width = len(state["conv1.weight"])
    config.data.name = data
    config.data.dir = data_dir
    stage = "float" if w_bits is None else "quantized"
    if w_bits is not None:
        config.model.w_bits = w_bits
        config.model.a_bits = a_bits
    config.stages = (stage,)
    config[stage].init = str(checkpoint)
    config[stage].teacher = None
    config[stage].epochs = 0.0
    return config


def _dataset(config: ConfigDict, state: Mapping[str, np.ndarray]) -> Dataset:
    if config.data.name in ("digits", "idx"):
        return open_dataset(config.data.to_dict())
    bias = next((state[name] for name in ("fc.bias", "classifier.1.bias") if name in state), None)
    num_classes = 1000 if bias is None else bias.size
    nothing = ArraySource(config.data.name, np.empty((0, 0, 0, 3), np.uint8), np.empty(0, np.int32))
    return as_dataset(config.data.name, nothing, nothing, num_classes, image_size=224, flip=True)
