"""Builds every network of this library by name."""

import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype

from n2uq_jax.models import resnet


def names() -> list[str]:
    """Returns every name that :func:`create` knows."""
    return [*resnet.IMAGENET_DEPTHS, *resnet.SMALL_DEPTHS]


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
      name: one of :func:`names`.
      w_bits: bit width of the weights, 1 to 8. None with ``a_bits=None``: the float twin, the
        same topology without quantizers.
      a_bits: bit width of the activations, 1 to 8.
      quantize_downsample: False keeps the 1x1 convolutions of ResNet shortcuts float.
      num_classes: number of logits.
      dtype: dtype of the computation.
      param_dtype: dtype of the parameters.
      rngs: the key stream ``params``.
      **kwargs: further arguments of the network, such as ``width``, ``stem_stride`` and
        ``in_features`` of the small ResNets.

    Returns:
      A module that maps NHWC images to logits.

    Raises:
      ValueError: if no network has that name, or only one bit width is None.
    """
    if name not in names():
        raise ValueError(f"name must be one of {', '.join(names())}; got {name!r}.")
    return resnet.create_resnet(
        name,
        w_bits=w_bits,
        a_bits=a_bits,
        quantize_downsample=quantize_downsample,
        num_classes=num_classes,
        dtype=dtype,
        param_dtype=param_dtype,
        rngs=rngs,
        **kwargs,
    )
