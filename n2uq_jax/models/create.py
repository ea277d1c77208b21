"""Builds every network of this library by name."""

import operator
from typing import Any

import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype

from n2uq_jax.models.mobilenet_v2 import MobileNetV2
from n2uq_jax.models.resnet import IMAGENET_DEPTHS, SMALL_DEPTHS, ResNet, resnet_shape
from n2uq_jax.models.torchvision import TorchvisionMobileNetV2, TorchvisionResNet

PAPER = ("resnet18", "resnet34", "resnet50", "mobilenet_v2")
"""The networks of the paper, for ImageNet."""

TORCHVISION = "torchvision/"
"""Names of torchvision's own float networks begin so."""


def names() -> list[str]:
    """Returns every name that :func:`create` knows."""
    theirs = [f"{TORCHVISION}{name}" for name in (*IMAGENET_DEPTHS, "mobilenet_v2")]
    return [*PAPER, *SMALL_DEPTHS, *theirs]


def options(name: str) -> tuple[str, ...]:
    """Returns the further arguments of :func:`create` that a network takes.

    Args:
      name: one of :func:`names`.

    Returns:
      The arguments' names.
    """
    return ("in_features", "width", "stem_stride") if name in SMALL_DEPTHS else ("in_features",)


def create(
    name: str,
    *,
    w_bits: int | None = None,
    a_bits: int | None = None,
    quantize_downsample: bool = True,
    num_classes: int = 1000,
    dtype: Dtype = jnp.float32,
    param_dtype: Dtype = jnp.float32,
    rngs: nnx.Rngs,
    **kwargs: Any,
) -> nnx.Module:
    """Builds a network.

    Args:
      name: one of :func:`names`. Those that begin with ``torchvision/`` are torchvision's own float
        networks, with the activation behind the convolution: teachers and starting points.
      w_bits: bit width of the weights, 1 to 8. None with ``a_bits=None``: the float twin, the
        same topology without quantizers.
      a_bits: bit width of the activations, 1 to 8.
      quantize_downsample: False keeps the 1x1 convolutions of ResNet shortcuts float; the other
        families have none.
      num_classes: number of logits, at least 1.
      dtype: dtype of the computation.
      param_dtype: dtype of the parameters.
      rngs: the key stream ``params``.
      **kwargs: ``in_features``, channels of the images, by default 3; and, of the small ResNets
        alone, ``width``, channels of the first stage, by default 16, and ``stem_stride``, stride
        of the first convolution in pixels, by default 1. All are at least 1.

    Returns:
      A module that maps float NHWC images, shape ``(batch, height, width, in_features)``, to
      logits, shape ``(batch, num_classes)``.

    Raises:
      TypeError: for an argument that the network does not take.
      ValueError: if no network has that name, only one bit width is None, one is not in 1 to 8, a
        network of torchvision's is asked for bit widths, or a size is less than 1.

    Reference:
      Liu et al., "Nonuniform-to-Uniform Quantization", CVPR 2022, Section 4.
    """
    if name not in names():
        raise ValueError(f"name must be one of {', '.join(names())}; got {name!r}.")
    _check_options(name, kwargs)
    _check_sizes(kwargs | {"num_classes": num_classes})
    shared: dict[str, Any] = {
        "num_classes": num_classes,
        "dtype": dtype,
        "param_dtype": param_dtype,
        "rngs": rngs,
    }
    family = name.removeprefix(TORCHVISION)
    if family != name:
        if w_bits is not None or a_bits is not None:
            raise ValueError(
                f"w_bits and a_bits must be None for the float network {name!r}, got "
                f"w_bits={w_bits}, a_bits={a_bits}."
                + (f" Its quantized form is {family!r}." if family in PAPER else "")
            )
        if family == "mobilenet_v2":
            return TorchvisionMobileNetV2(**kwargs, **shared)
        return TorchvisionResNet(resnet_shape(family, **kwargs), **shared)
    shared |= {"w_bits": w_bits, "a_bits": a_bits}
    if family == "mobilenet_v2":
        return MobileNetV2(**kwargs, **shared)
    shape = resnet_shape(family, **kwargs)
    return ResNet(shape, quantize_downsample=quantize_downsample, **shared)


def _check_options(name: str, kwargs: dict[str, Any]) -> None:
    unknown = [argument for argument in kwargs if argument not in options(name)]
    if unknown:
        raise TypeError(
            f"{name!r} does not take {', '.join(unknown)}. Beside the arguments of all networks it "
            f"takes {', '.join(options(name))}."
        )


def _check_sizes(sizes: dict[str, Any]) -> None:
    for argument, size in sizes.items():
        try:
            valid = not isinstance(size, bool) and operator.index(size) >= 1
        except TypeError:
            valid = False
        if not valid:
            raise ValueError(f"{argument} must be an integer of at least 1, got {size!r}.")
