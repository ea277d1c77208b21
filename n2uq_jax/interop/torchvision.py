"""torchvision's state dicts, in and out."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from flax import nnx

from n2uq_jax.interop import state_dict
from n2uq_jax.interop.state_dict import LoadReport, StateDict, Tensor
from n2uq_jax.models.mobilenet_v2 import MobileNetV2
from n2uq_jax.models.resnet import ResNet
from n2uq_jax.models.torchvision import TorchvisionMobileNetV2, TorchvisionResNet


def load_torchvision_state_dict(m: nnx.Module, state: Mapping[str, np.ndarray]) -> LoadReport:
    """Loads a state dict that has torchvision's names: all of it, or nothing.

    A network of torchvision's is loaded whole. A network of the paper's, quantized or not, gets the
    convolutions, the normalizations and the head; its RPReLUs, its quantizers and MobileNetV2's
    first 1x1 convolution, which torchvision's networks have not, stay as they are.

    Args:
      m: a network of :func:`n2uq_jax.models.create`, changed in place.
      state: torchvision's names and arrays: OIHW kernels, of any float dtype. Values are cast to
        the dtype of the parameters. Files that torchvision wrote long ago have no
        ``num_batches_tracked``; then the counts stay as they are.

    Returns:
      Which parameters stayed at their initial value.

    Raises:
      TypeError: if ``m`` is another network.
      ValueError: if a tensor is missing, unexpected, of another shape or dtype, not finite, or out
        of its range (a variance is not negative).

    Reference:
      torchvision, ``models/resnet.py`` and ``models/mobilenetv2.py``.
    """
    entries = list(_entries(m))
    if not any(name.endswith(".num_batches_tracked") for name in state):
        entries = [entry for entry in entries if not entry.integer]
    state_dict.load(entries, state, "torchvision's")
    return LoadReport.of(m, entries)


def save_torchvision_state_dict(m: nnx.Module) -> StateDict:
    """Returns a float network as a state dict that torchvision's network loads.

    Args:
      m: a ``torchvision/...`` network of :func:`n2uq_jax.models.create`.

    Returns:
      torchvision's names, in its order, and arrays of the parameters' dtype in PyTorch's layouts.

    Raises:
      TypeError: if ``m`` is another network.

    Reference:
      torchvision, ``models/resnet.py`` and ``models/mobilenetv2.py``.
    """
    if not isinstance(m, TorchvisionResNet | TorchvisionMobileNetV2):
        raise TypeError(f"m must be one of torchvision's networks, got {type(m)}.")
    return state_dict.save(list(_entries(m)))


def _entries(m: nnx.Module) -> Iterator[Tensor]:
    if isinstance(m, ResNet | TorchvisionResNet):
        return _resnet(m)
    if isinstance(m, MobileNetV2 | TorchvisionMobileNetV2):
        return _mobilenet_v2(m)
    raise TypeError(f"m must be a ResNet or MobileNetV2 of n2uq.models, got {type(m)}.")


def _resnet(m: ResNet | TorchvisionResNet) -> Iterator[Tensor]:
    stem = m.stem if isinstance(m, TorchvisionResNet) else m
    yield from _conv_norm("conv1", "bn1", stem)
    for i, stage in enumerate(m.stages, 1):
        for j, block in enumerate(stage):
            name = f"layer{i}.{j}"
            for n, unit in enumerate(block.units, 1):
                yield from _conv_norm(f"{name}.conv{n}", f"{name}.bn{n}", unit)
            if block.shortcut is not None:
                downsample = f"{name}.downsample"
                yield from _conv_norm(f"{downsample}.0", f"{downsample}.1", block.shortcut)
    yield from state_dict.linear("fc", m.head)


def _mobilenet_v2(m: MobileNetV2 | TorchvisionMobileNetV2) -> Iterator[Tensor]:
    stem = m.stem if isinstance(m, TorchvisionMobileNetV2) else m
    yield from _conv_norm("features.0.0", "features.0.1", stem)
    blocks: nnx.List[Any] = m.blocks
    for i, block in enumerate(blocks, 1):
        # The paper's first block widens 32 channels to 32; torchvision's begins after that.
        units: list[Any] = list(block.units)[-2:] if i == 1 else list(block.units)
        name = f"features.{i}.conv"
        for n, unit in enumerate(units[:-1]):
            yield from _conv_norm(f"{name}.{n}.0", f"{name}.{n}.1", unit)
        yield from _conv_norm(f"{name}.{len(units) - 1}", f"{name}.{len(units)}", units[-1])
    last = f"features.{len(blocks) + 1}"
    if isinstance(m, TorchvisionMobileNetV2):
        yield from _conv_norm(f"{last}.0", f"{last}.1", m.last)
    else:
        yield from state_dict.conv(f"{last}.0", m.last_conv)
        yield from state_dict.batch_norm(f"{last}.1", m.last_norm)
    yield from state_dict.linear("classifier.1", m.head)


def _conv_norm(conv: str, norm: str, unit: Any) -> Iterator[Tensor]:
    """Yields the tensors of ``unit.conv`` and ``unit.norm`` under their names."""
    yield from state_dict.conv(conv, unit.conv)
    yield from state_dict.batch_norm(norm, unit.norm)
