"""Checkpoint files of PyTorch's world, read without running anything that is in them."""

import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from n2uq_jax.interop.n2uq import load_n2uq_state_dict
from n2uq_jax.interop.state_dict import LoadReport, StateDict, sample
from n2uq_jax.interop.torchvision import load_torchvision_state_dict
from n2uq_jax.models.mobilenet_v2 import MobileNetV2
from n2uq_jax.models.resnet import ResNet

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Under these keys training scripts keep the state dict."""

PREFIXES = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put in front of every name."""

TORCH_SUFFIXES = (".pth", ".pt", ".tar", ".bin")

SAFETENSORS_DTYPES = re.compile(r"F16|F32|F64|BF16|[IU](8|16|32|64)|BOOL|C64")
"""Of safetensors' names of dtypes those that can be read."""

HUB = "hf://"
"""A checkpoint's name begins so if it is to be downloaded from the Hugging Face hub."""


def load_checkpoint(m: nnx.Module, source: str | os.PathLike[str]) -> LoadReport:
    """Loads a file of the authors' or of torchvision's weights into a network: all or nothing.

    Args:
      m: a network of :func:`n2uq_jax.models.create`, changed in place.
      source: what :func:`read_checkpoint` reads. OIHW kernels of any float dtype become HWIO ones
        of the dtype of the network's parameters.

    Returns:
      Which parameters stayed at their initial value.

    Raises:
      FileNotFoundError: if there is no such file or model.
      ImportError: if the library that reads the file is not installed.
      TypeError: if ``m`` is another network.
      ValueError: if the file is damaged, or does not fit the network.

    Reference:
      :func:`load_n2uq_state_dict`, :func:`load_torchvision_state_dict`.
    """
    return load_state_dict(m, read_checkpoint(source))


def load_state_dict(m: nnx.Module, state: Mapping[str, np.ndarray]) -> LoadReport:
    """Loads a state dict, whether it has the authors' names or torchvision's.

    Args:
      m: a network of :func:`n2uq_jax.models.create`, changed in place.
      state: PyTorch's names and arrays, in PyTorch's layouts (OIHW kernels), of any float dtype.

    Returns:
      Which parameters stayed at their initial value.

    Raises:
      TypeError: if ``m`` is another network.
      ValueError: if the state dict does not fit the network.

    Reference:
      :func:`load_n2uq_state_dict`, :func:`load_torchvision_state_dict`.
    """
    # Every network of the authors' has RPReLUs, and none of torchvision's.
    if isinstance(m, ResNet | MobileNetV2) and any(".prelu" in name for name in state):
        load_n2uq_state_dict(m, state)
        return LoadReport(len(nnx.to_flat_state(nnx.state(m, nnx.Param))), ())
    return load_torchvision_state_dict(m, state)


def read_checkpoint(path: str | os.PathLike[str]) -> StateDict:
    """Reads a state dict from a file.

    A state dict under one of the keys :data:`WRAPPERS` is taken out of it, and one of
    :data:`PREFIXES` that every name has is taken off.

    Args:
      path: a ``.safetensors`` file, which needs the library safetensors alone, or what
        ``torch.save`` wrote: ``.pth``, ``.pt``, ``.pth.tar`` or ``.bin``, which needs torch; or
        :data:`HUB` and the name of a Hugging Face hub model that has a ``model.safetensors``,
        such as ``hf://timm/resnet101.tv_in1k``, which is downloaded.

    Returns:
      PyTorch's names and arrays in PyTorch's layouts and dtypes; bfloat16 tensors as float32.

    Raises:
      FileNotFoundError: if there is no such file.
      ImportError: if the library that reads it is not installed.
      ValueError: if the file is empty, damaged, of an unknown kind, holds anything but tensors
        under names or tensors of a dtype that NumPy has not (float8, float4), or is a pickle that
        would run code.

    Reference:
      PyTorch, "Serialization semantics", ``torch.load(weights_only=True)``; the format of
      safetensors, github.com/huggingface/safetensors.
    """
    path = _find(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist.")
    if path.stat().st_size == 0:
        raise ValueError(f"checkpoint {path} is empty: it has no bytes.")
    if path.suffix == ".safetensors":
        contents = _read_safetensors(path)
    elif path.suffix in TORCH_SUFFIXES:
        contents = _read_torch(path)
    else:
        raise ValueError(
            f"checkpoint {path} must end in .safetensors or in what torch.save wrote: "
            f"{', '.join(TORCH_SUFFIXES)}."
        )
    return _arrays(path, contents)


def _find(source: str | os.PathLike[str]) -> Path:
    if not str(source).startswith(HUB):
        return Path(source)
    import huggingface_hub

    try:
        name = str(source).removeprefix(HUB)
        return Path(huggingface_hub.hf_hub_download(name, "model.safetensors"))
    except (OSError, ValueError) as error:
        raise FileNotFoundError(f"checkpoint {source} cannot be downloaded: {error}") from error


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError("Reading .safetensors needs safetensors: pip install safetensors") from (
            error
        )
    try:
        with safetensors.safe_open(path, framework="np") as file:
            dtypes = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
        unread = {n: d for n, d in dtypes.items() if not SAFETENSORS_DTYPES.fullmatch(d)}
        _refuse(unread, path)
        return safetensors.numpy.load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(f"checkpoint {path} is damaged: {error}") from error


def _read_torch(path: Path) -> Any:
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"Reading {path.name} needs torch: pip install 'n2uq_jax[torch]'; or save its state "
            "dict as .safetensors."
        ) from error
    cause: Exception
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        cause, reason = error, str(error)
        if "Unsupported global" in reason:
            raise ValueError(
                f"checkpoint {path} is refused: it holds more than tensors and plain containers, "
                "and reading that could run any code. In PyTorch, save its state dict alone. "
                f"PyTorch says: {_first_line(reason, 'Unsupported global')}"
            ) from error
        damage = _first_line(reason, "Unpickl")
    except Exception as error:  # whatever a damaged file makes torch raise
        cause, damage = error, _first_line(str(error))
    raise ValueError(
        f"checkpoint {path} is damaged, or was not written by torch.save: {damage}"
    ) from cause


def _first_line(text: str, containing: str = "") -> str:
    return next((line.strip() for line in text.splitlines() if containing in line), "no reason")


def _arrays(path: Path, contents: Any) -> StateDict:
    """Takes the state dict out of its wrappers and returns it as NumPy arrays."""
    while isinstance(contents, Mapping) and (
        inner := next((contents[k] for k in WRAPPERS if isinstance(contents.get(k), Mapping)), None)
    ):
        contents = inner
    if not isinstance(contents, Mapping):
        raise ValueError(f"checkpoint {path} holds a {type(contents).__name__}, not a state dict.")
    if not contents:
        raise ValueError(f"checkpoint {path} is empty: it has no tensors.")
    dtypes = {str(name): str(getattr(value, "dtype", "")) for name, value in contents.items()}
    _refuse(
        {n: d for n, d in dtypes.items() if d.startswith(("torch.float8", "torch.float4"))}, path
    )
    arrays = {str(name): _array(value) for name, value in contents.items()}
    foreign = [name for name, value in arrays.items() if value is None]
    if foreign:
        raise ValueError(f"checkpoint {path} holds values that are no tensors: {sample(foreign)}")
    while prefix := next((p for p in PREFIXES if all(n.startswith(p) for n in arrays)), None):
        arrays = {name.removeprefix(prefix): value for name, value in arrays.items()}
    return arrays  # type: ignore[return-value]


def _refuse(dtypes: Mapping[str, str], path: Path) -> None:
    """Refuses a file if there are tensors in ``dtypes``, which are those that NumPy has not."""
    if dtypes:
        raise ValueError(
            f"checkpoint {path} holds tensors of dtype {sample(sorted(set(dtypes.values())))}, "
            f"which cannot be read: {sample(list(dtypes))}. Save them in float32."
        )


def _array(value: Any) -> np.ndarray | None:
    if isinstance(value, np.ndarray):
        return value.astype(np.float32) if value.dtype.name == "bfloat16" else value
    if not hasattr(value, "detach"):
        return None
    tensor = value.detach()
    return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
