"""From a trained network of the paper's form to the integer-only one."""

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from n2uq_jax.models.copying import copy_shared_state
from n2uq_jax.models.integer.form import IMAGENET_MEAN, IMAGENET_STD, IntegerOnly
from n2uq_jax.models.integer.networks import IntegerMobileNetV2, IntegerResNet
from n2uq_jax.models.mobilenet_v2 import MobileNetV2
from n2uq_jax.models.resnet import ResNet
from n2uq_jax.nn.integer import set_grids


def to_integer_only(
    model: nnx.Module,
    batches: Iterable[Any],
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    stream_bits: int = 16,
    stem_bits: int = 8,
    head_bits: int = 8,
) -> IntegerResNet | IntegerMobileNetV2:
    """Turns a trained N2UQ network into one whose evaluation is integer arithmetic alone.

    Parameters and running statistics are copied one to one, and the grids are set from data, so the
    network is usable at once; training it further wins back what the rounding of the residual
    stream and the 8-bit first and last layer cost.

    Args:
      model: a quantized network of :func:`n2uq_jax.models.create`; it stays as it is.
      batches: uint8 images, shape ``(batch, height, width, in_features)``; a few hundred images
        show the ranges.
      mean: what the network was trained with, per channel of pixels divided by 255. None for the
        statistics that :func:`n2uq_jax.load` found in the workdir, or ImageNet's.
      std: as ``mean``.
      stream_bits: of the residual stream, 8 to 16.
      stem_bits: of the first convolution's weights, 2 to 8.
      head_bits: of the last layer's weights and inputs, 2 to 8.

    Returns:
      The integer-only network, in evaluation mode.

    Raises:
      TypeError: if ``model`` is not such a network.
      ValueError: if it has no quantizers, or an argument does not fit.
    """
    if not isinstance(model, ResNet | MobileNetV2):
        raise TypeError(
            "model must be a network of n2uq_jax.models.create in the paper's form, got "
            f"{type(model).__name__}. A network of another kind, such as a converted or a Linen "
            "one, has no layers that are known to be replaceable: build it of those in "
            "n2uq_jax.nn.integer, copy the parameters, and call n2uq_jax.nn.integer.set_grids. "
            "Without that its export keeps residual sums in float."
        )
    if model.precision.w_bits is None:
        raise ValueError(
            "model must have quantizers, got a float twin: train its quantized form first, or "
            "create the network with integer_only=True and train it from the float twin."
        )
    known = getattr(model, "normalization", None) or (IMAGENET_MEAN, IMAGENET_STD)
    form = IntegerOnly(
        model.precision,
        quantize_downsample=getattr(model, "quantize_downsample", True),
        stream_bits=stream_bits,
        stem_bits=stem_bits,
        head_bits=head_bits,
        mean=tuple(mean if mean is not None else known[0]),
        std=tuple(std if std is not None else known[1]),
    )
    shared: dict[str, Any] = {
        "form": form,
        "num_classes": int(model.head.out_features),
        "rngs": nnx.Rngs(0),
    }
    if isinstance(model, ResNet):
        network: Any = IntegerResNet(model.shape, **shared)
    else:
        network = IntegerMobileNetV2(model.shape, **shared)
    initialize_integer_only(network, model, batches)
    network.eval()
    return network


def paper_form(network: IntegerResNet | IntegerMobileNetV2) -> ResNet | MobileNetV2:
    """Returns the paper's form of an integer-only network, with random parameters.

    Args:
      network: of which the shapes and bit widths count.
    """
    precision = network.form.precision
    shared: dict[str, Any] = {
        "num_classes": int(network.head.out_features),
        "w_bits": precision.w_bits,
        "a_bits": precision.a_bits,
        "method": precision.method,
        **precision.dtypes,
        "rngs": nnx.Rngs(0),
    }
    if isinstance(network, IntegerResNet):
        downsample = network.form.quantize_downsample
        return ResNet(network.shape, quantize_downsample=downsample, **shared)
    return MobileNetV2(network.shape, **shared)


def initialize_integer_only(
    network: IntegerResNet | IntegerMobileNetV2, source: nnx.Module, batches: Iterable[Any]
) -> None:
    """Gives an integer-only network the state of one in the paper's form, and its grids.

    Args:
      network: changed in place.
      source: the paper's form of the same network, or its float twin.
      batches: uint8 images.

    Raises:
      ValueError: if the source has state that the network has not, or there are no images.
    """
    copy_shared_state(source, network)
    # The mean of pixels is rounded to an integer. What that adds to every sum is known.
    pixels = network.pixels
    mean, std = (jnp.asarray(255 * np.asarray(v), jnp.float32) for v in (pixels.mean, pixels.std))
    missed = (mean - jnp.asarray(pixels.zero_point, jnp.float32)) / std
    statistics = network.norm.mean
    shift: jax.Array = jnp.einsum("hwio,i->o", network.conv.kernel[...], missed)
    statistics[...] += shift.astype(statistics[...].dtype)
    set_grids(network, batches)
