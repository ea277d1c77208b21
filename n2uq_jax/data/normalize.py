"""From uint8 pixels to what a network reads, on the device."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


def normalize(
    image: jax.Array, mean: Sequence[float], std: Sequence[float], dtype: DTypeLike = jnp.float32
) -> jax.Array:
    """Scales pixels to zero mean and unit deviation: (image / 255 − mean) / std.

    Computed in float32 (float64 where `dtype` is), then cast, so that bfloat16 rounds once.

    Args:
      image: uint8 [..., H, W, C].
      mean: C numbers, of pixels divided by 255.
      std: C numbers, of pixels divided by 255; none of them zero.
      dtype: of the result.

    Returns:
      [..., H, W, C] in `dtype`.

    Raises:
      TypeError: `image` is not uint8.
      ValueError: `mean` or `std` do not have C entries, or `std` holds a zero.
    """
    if image.dtype != jnp.uint8:
        raise TypeError(f"normalize: image has dtype {image.dtype}, expected uint8")
    channels = image.shape[-1]
    if len(mean) != channels or len(std) != channels:
        raise ValueError(
            f"normalize: image of shape {image.shape} has {channels} channels, "
            f"but mean has {len(mean)} and std {len(std)} entries"
        )
    if any(value == 0 for value in std):
        raise ValueError(f"normalize: std holds a zero: {tuple(std)}")
    compute = jnp.promote_types(jnp.float32, dtype)
    shape = (1,) * (image.ndim - 1) + (channels,)
    mean_array = jnp.asarray(mean, compute).reshape(shape)
    std_array = jnp.asarray(std, compute).reshape(shape)
    return ((image.astype(compute) / 255 - mean_array) / std_array).astype(dtype)
