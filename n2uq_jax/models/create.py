"""Builds every network of this library by name."""

import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype

from n2uq_jax.models import mobilenet_v2, resnet, torchvision


def names() -> list[str]:
    """Returns every name that :func:`create` knows."""
    return [*resnet.IMAGENET_DEPTHS, *resnet.SMALL_DEPTHS, "mobilenet_v2", *torchvision.NAMES]


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
    **kwargs,
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
      num_classes: number of logits.
      dtype: dtype of the computation.
      param_dtype: dtype of the parameters.
      rngs: the key stream ``params``.
      **kwargs: further arguments of the network, such as ``width``, ``stem_stride`` and
        ``in_features`` of the small ResNets.

    Returns:
      A module that maps NHWC images to logits.

    Raises:
      ValueError: if no network has that name, only one bit width is None, or a network of
        torchvision's is asked for bit widths.
    """
    if name not in names():
        raise ValueError(f"name must be one of {', '.join(names())}; got {name!r}.")
    kwargs |= {
        "num_classes": num_classes,
        "dtype": dtype,
        "param_dtype": param_dtype,
        "rngs": rngs,
    }
    if name in torchvision.NAMES:
        if w_bits is not None or a_bits is not None:
            raise ValueError(
                f"w_bits and a_bits must be None for the float network {name!r}, got "
                f"w_bits={w_bits}, a_bits={a_bits}; its quantized form is "
                f"{name.removeprefix('torchvision/')!r}."
            )
        return torchvision.create_torchvision(name, **kwargs)
    kwargs |= {"w_bits": w_bits, "a_bits": a_bits}
    if name == "mobilenet_v2":
        return mobilenet_v2.MobileNetV2(**kwargs)
    return resnet.create_resnet(name, quantize_downsample=quantize_downsample, **kwargs)
