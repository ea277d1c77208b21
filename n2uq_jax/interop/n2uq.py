"""State dicts of the authors' PyTorch networks, in and out."""

from collections.abc import Iterator, Mapping

import numpy as np
from flax import nnx

from n2uq_jax.interop import state_dict
from n2uq_jax.interop.state_dict import Constant, Entry, StateDict, Tensor, vector
from n2uq_jax.models.forms import PreActivationUnit
from n2uq_jax.models.mobilenet_v2 import MobileNetV2
from n2uq_jax.models.resnet import ResNet
from n2uq_jax.nn import PACT, ActivationQuantizer, QuantConv, RPReLU
from n2uq_jax.nn.methods import is_n2uq
from n2uq_jax.quantizers import MIN_INTERVAL

_QUANTIZER_CONSTANTS = {"two": 2, "one": 1, "zero": 0, "minusone": -1, "eps": MIN_INTERVAL}
_CONV_CONSTANTS = {"clip_val": 2, "zero": 0}


def load_n2uq_state_dict(m: nnx.Module, state: Mapping[str, np.ndarray]) -> None:
    """Loads a state dict that has the authors' names: all of it, or nothing.

    Bit widths of weights are in no state dict: the kernels are stored as floats. Those of
    activations show in the shapes of the intervals.

    Args:
      m: a ResNet or MobileNetV2 of :func:`n2uq_jax.models.create`, changed in place. A float twin
        wants the same names without those of the quantizers.
      state: PyTorch's names and arrays, such as :func:`read_checkpoint` returns: OIHW kernels, of
        any float dtype. Values are cast to the dtype of the parameters.

    Raises:
      TypeError: if ``m`` is another network.
      ValueError: if a tensor is missing, unexpected, of another shape or dtype, not finite, out of
        its range (a variance is not negative), or a constant of another value (``clip_val`` of a
        weight quantizer is 2; a 16-bit checkpoint may have rounded it).

    Reference:
      github.com/liuzechun/Nonuniform-to-Uniform-Quantization.
    """
    state_dict.load(list(_entries(m)), state, "the N2UQ authors'")


def save_n2uq_state_dict(m: nnx.Module) -> StateDict:
    """Returns a network as a state dict that the authors' PyTorch code loads.

    Args:
      m: a ResNet or MobileNetV2 of :func:`n2uq_jax.models.create`.

    Returns:
      The authors' names, in PyTorch's order, and arrays of the parameters' dtype in PyTorch's
      layouts, constants and ``num_batches_tracked`` included.

    Raises:
      TypeError: if ``m`` is another network.

    Reference:
      github.com/liuzechun/Nonuniform-to-Uniform-Quantization.
    """
    return state_dict.save(list(_entries(m)))


def _entries(m: nnx.Module) -> Iterator[Entry]:
    if isinstance(m, ResNet | MobileNetV2) and not is_n2uq(m.precision.method):
        raise TypeError(f"m must be quantized by N2UQ, got method={m.precision.method!r}.")
    if isinstance(m, ResNet):
        return _resnet(m)
    if isinstance(m, MobileNetV2):
        return _mobilenet_v2(m)
    raise TypeError(f"m must be a ResNet or MobileNetV2 of n2uq.models, got {type(m)}.")


def _resnet(m: ResNet) -> Iterator[Entry]:
    yield from state_dict.conv("conv1", m.conv)
    yield from state_dict.batch_norm("bn1", m.norm)
    for i, stage in enumerate(m.stages, 1):
        for j, block in enumerate(stage):
            name = f"layer{i}.{j}"
            for n, unit in enumerate(block.units, 1):
                yield from _rprelu(name, n, unit.activation)
                # The authors number the RPReLU on the sum of a basic block 3, and of a bottleneck,
                # whose third convolution has one of that number, 0.
                yield from _quantized(name, n, unit)
            if block.shortcut is not None:
                yield from _shortcut(f"{name}.downsample", block.shortcut)
            yield from _rprelu(name, 3 if len(block.units) == 2 else 0, block.activation)
    yield from state_dict.linear("fc", m.head)


def _mobilenet_v2(m: MobileNetV2) -> Iterator[Entry]:
    yield from state_dict.conv("feature.0.conv1", m.conv)
    yield from state_dict.batch_norm("feature.0.bn1", m.norm)
    for i, block in enumerate(m.blocks, 1):
        for n, unit in enumerate(block.units, 1):
            yield from _rprelu(f"feature.{i}", n, unit.activation)
            yield from _quantized(f"feature.{i}", n, unit)
    last = f"feature.{len(m.blocks) + 1}"
    if isinstance(m.last_activation, PACT):
        yield Tensor(f"{last}.quan1.clip_val", m.last_activation.clip, (1,))
    yield from _conv(f"{last}.conv1", m.last_conv)
    yield from state_dict.batch_norm(f"{last}.bn1", m.last_norm)
    yield from state_dict.linear("fc", m.head)


def _quantized(block: str, n: int, unit: PreActivationUnit) -> Iterator[Entry]:
    yield from _quantizer(f"{block}.quan{n}", unit.conv)
    yield from _conv(f"{block}.conv{n}", unit.conv)
    yield from state_dict.batch_norm(f"{block}.bn{n}", unit.norm)


def _shortcut(name: str, shortcut) -> Iterator[Entry]:
    quantized = isinstance(shortcut.conv, QuantConv)
    yield from _quantizer(f"{name}.0", shortcut.conv)
    yield from _conv(f"{name}.{1 if quantized else 0}", shortcut.conv)
    yield from state_dict.batch_norm(f"{name}.{2 if quantized else 1}", shortcut.norm)


def _rprelu(block: str, n: int, activation: RPReLU) -> Iterator[Entry]:
    bias_shape = (1, activation.features, 1, 1)
    yield Tensor(f"{block}.bias{n}1.bias", activation.bias_in, bias_shape)
    yield vector(f"{block}.prelu{n}.weight", activation.slope)
    yield Tensor(f"{block}.bias{n}2.bias", activation.bias_out, bias_shape)


def _quantizer(name: str, layer: nnx.Conv) -> Iterator[Entry]:
    quantizer = getattr(layer, "input_quantizer", None)
    if not isinstance(quantizer, ActivationQuantizer):
        return
    yield Tensor(f"{name}.start", quantizer.start, (1,))
    yield vector(f"{name}.a", quantizer.intervals)
    yield Tensor(f"{name}.scale1", quantizer.in_scale, (1,))
    yield Tensor(f"{name}.scale2", quantizer.out_scale, (1,))
    yield from _constants(name, _QUANTIZER_CONSTANTS)


def _conv(name: str, layer: nnx.Conv) -> Iterator[Entry]:
    if isinstance(layer, QuantConv):
        yield from _constants(name, _CONV_CONSTANTS)
    yield from state_dict.conv(name, layer)


def _constants(name: str, values: Mapping[str, float]) -> Iterator[Entry]:
    for leaf, value in values.items():
        yield Constant(f"{name}.{leaf}", np.full((1,), value, np.float32))
