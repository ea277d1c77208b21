"""Builds every network of this library by name."""

import operator
from typing import Any

import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype

from n2uq_jax.models.integer.form import IntegerOnly
from n2uq_jax.models.integer.networks import IntegerMobileNetV2, IntegerResNet
from n2uq_jax.models.layers import Precision
from n2uq_jax.models.mobilenet_v2 import SMALL, MobileNetV2, mobilenet_shape
from n2uq_jax.models.resnet import IMAGENET_DEPTHS, SMALL_DEPTHS, ResNet, resnet_shape
from n2uq_jax.models.torchvision import TorchvisionMobileNetV2, TorchvisionResNet
from n2uq_jax.nn.methods import Method, check_method

PAPER = ("resnet18", "resnet34", "resnet50", "mobilenet_v2")
"""The networks of the paper, for ImageNet."""

TORCHVISION = "torchvision/"
"""Names of torchvision's own float networks begin so."""


INTEGER_OPTIONS = ("stream_bits", "stem_bits", "head_bits", "mean", "std")
"""Further arguments of :func:`create` with ``integer_only=True``."""


def names() -> list[str]:
    """Returns every name that :func:`create` knows."""
    theirs = [f"{TORCHVISION}{name}" for name in (*IMAGENET_DEPTHS, "mobilenet_v2")]
    return [*PAPER, *SMALL_DEPTHS, SMALL, *theirs]


def options(name: str) -> tuple[str, ...]:
    """Returns the further arguments of :func:`create` that a network takes.

    Args:
      name: one of :func:`names`.

    Returns:
      The arguments' names.
    """
    small = name in SMALL_DEPTHS or name == SMALL
    return ("in_features", "width", "stem_stride") if small else ("in_features",)


def create(
    name: str,
    *,
    w_bits: int | None = None,
    a_bits: int | None = None,
    quantize_downsample: bool = True,
    method: Method = "n2uq",
    num_classes: int = 1000,
    integer_only: bool = False,
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
      method: how layers quantize: ``"n2uq"``, an ablation of it, or what it is compared with in
        the same blocks; see :data:`n2uq_jax.nn.Method`. The others want starting values from data:
        :func:`n2uq_jax.calibrate`.
      num_classes: number of logits, at least 1.
      integer_only: the form whose evaluation is integer arithmetic alone. It takes uint8 pixels,
        and the further arguments ``stream_bits`` (8 to 16, by default 16), of the residual
        stream, ``stem_bits`` and ``head_bits`` (2 to 8, by default 8), of the first and the last
        layer, and ``mean`` and ``std``, per channel of pixels divided by 255, by default
        ImageNet's. Its parameters are those of the paper's form;
        :func:`n2uq_jax.to_integer_only` copies a trained network's.
      dtype: dtype of the computation.
      param_dtype: dtype of the parameters.
      rngs: the key stream ``params``.
      **kwargs: ``in_features``, channels of the images, by default 3; and, of the small networks
        alone, ``width``, channels of the first stage, by default 16, and ``stem_stride``, stride
        of the first convolution in pixels, by default 1. All are at least 1.

    Returns:
      A module that maps NHWC images, shape ``(batch, height, width, in_features)``, normalized
      floats or, if integer-only, uint8 pixels, to logits, shape ``(batch, num_classes)``.

    Raises:
      TypeError: for an argument that the network does not take.
      ValueError: if no network has that name, only one bit width is None, one is out of its range,
        a network of torchvision's is asked for bit widths, an integer-only one has none, a size
        is less than 1, or ``method`` is unknown or does not do what is asked of it.

    Reference:
      Liu et al., "Nonuniform-to-Uniform Quantization", CVPR 2022, Section 4.
    """
    if name not in names():
        raise ValueError(f"name must be one of {', '.join(names())}; got {name!r}.")
    integers = {option: kwargs.pop(option) for option in INTEGER_OPTIONS if option in kwargs}
    if integers and not integer_only:
        raise TypeError(f"{', '.join(integers)} wants integer_only=True, got False.")
    _check_options(name, kwargs)
    _check_sizes(kwargs | {"num_classes": num_classes})
    check_method(method, w_bits=w_bits, a_bits=a_bits)
    shared: dict[str, Any] = {
        "num_classes": num_classes,
        "dtype": dtype,
        "param_dtype": param_dtype,
        "rngs": rngs,
    }
    family = name.removeprefix(TORCHVISION)
    if family != name:
        if integer_only:
            raise ValueError(f"integer_only must be False for the float network {name!r}.")
        if w_bits is not None or a_bits is not None:
            raise ValueError(
                f"w_bits and a_bits must be None for the float network {name!r}, got "
                f"w_bits={w_bits}, a_bits={a_bits}."
                + (f" Its quantized form is {family!r}." if family in PAPER else "")
            )
        if family == "mobilenet_v2":
            return TorchvisionMobileNetV2(**kwargs, **shared)
        return TorchvisionResNet(resnet_shape(family, **kwargs), **shared)
    if integer_only:
        precision = Precision(w_bits, a_bits, dtype, param_dtype, method)
        form = IntegerOnly(precision, quantize_downsample, **integers)
        return create_integer(family, form, num_classes=num_classes, rngs=rngs, **kwargs)
    shared |= {"w_bits": w_bits, "a_bits": a_bits, "method": method}
    if family.startswith("mobilenet"):
        return MobileNetV2(mobilenet_shape(family, **kwargs), **shared)
    shape = resnet_shape(family, **kwargs)
    return ResNet(shape, quantize_downsample=quantize_downsample, **shared)


def create_integer(
    name: str, form: IntegerOnly, *, num_classes: int, rngs: nnx.Rngs, **kwargs: Any
) -> IntegerResNet | IntegerMobileNetV2:
    """Builds an integer-only network; :func:`create` checks the arguments.

    Args:
      name: of the paper's networks or the small ones.
      form: bit widths and pixels.
      num_classes: number of logits.
      rngs: the key stream ``params``.
      **kwargs: as in :func:`create`.

    Returns:
      The network.
    """
    if name.startswith("mobilenet"):
        mobile = mobilenet_shape(name, **kwargs)
        return IntegerMobileNetV2(mobile, form=form, num_classes=num_classes, rngs=rngs)
    shape = resnet_shape(name, **kwargs)
    return IntegerResNet(shape, form=form, num_classes=num_classes, rngs=rngs)


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
