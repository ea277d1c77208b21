"""Explicit zeros around maps that are smaller than the window which passes over them."""

import math
from collections.abc import Sequence

import jax
import numpy as np
from jax import lax

Padding = tuple[tuple[int, int], ...]
"""A ``(low, high)`` pair a spatial axis."""


def pad_small_maps(
    x: jax.Array,
    window: Sequence[int],
    padding: str | Padding,
    dilation: Sequence[int],
    axes: Sequence[int],
) -> tuple[jax.Array, str | Padding]:
    """Pads a convolution's input in front of it, where the map has fewer positions than the window.

    XLA exchanges the operands of such a convolution: the weights become the image and the images
    the window. For that it has no fast program on a CPU; a 3x3 window over maps of 2x2 takes many
    times as long as over the same maps with the zeros in place, which have more positions.

    Args:
      x: the convolution's input.
      window: the kernel's size, one a spatial axis.
      padding: of the convolution; what is named by a word stays as it is.
      dilation: of the input, one a spatial axis; a dilated one stays as it is.
      axes: the spatial axes of ``x``.

    Returns:
      The input and the padding that is left, with the same convolution as before.
    """
    sizes = [x.shape[axis] for axis in axes]
    known = all(isinstance(size, int) for size in sizes)  # jax.export leaves some open
    small = known and math.prod(sizes) < math.prod(window)
    if not small or isinstance(padding, str) or any(d != 1 for d in dilation):
        return x, padding
    widths = [(0, 0, 0)] * x.ndim
    for axis, (low, high) in zip(axes, padding, strict=True):
        widths[axis] = (low, high, 0)
    # Behind a barrier, or XLA would make the zeros the convolution's own again.
    padded = lax.optimization_barrier(lax.pad(x, np.zeros((), x.dtype), widths))
    return padded, ((0, 0),) * len(padding)
