"""The input of an integer-only network: uint8 pixels."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from n2uq_jax.quantizers import QArray


class Pixels(nnx.Module):
    r"""Pixels as integers around their mean.

    .. math:: x_c = p_c - z_c, \qquad z_c = \operatorname{round}(255\,\mu_c)

    with the scale :math:`1 / (255\,\sigma_c)`, so that the value is the normalized pixel up to the
    rounding of the mean. The first convolution multiplies its weights by that scale, and pads
    with the integer 0.

    Args:
      mean: :math:`\mu_c`, of pixels divided by 255.
      std: :math:`\sigma_c`, of pixels divided by 255.

    Attributes:
      deterministic: True in evaluation: integers are int32, and not float32. ``model.eval()`` and
        ``model.train()`` switch it.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        if len(mean) != len(std) or min(std) <= 0 or min(mean) < 0 or max(mean) > 1:
            raise ValueError(
                "mean (0 to 1) and std (positive) must have one number a channel, of pixels "
                f"divided by 255; got mean={tuple(mean)}, std={tuple(std)}."
            )
        self.mean = tuple(float(m) for m in mean)
        self.std = tuple(float(s) for s in std)
        self.deterministic = False

    @property
    def zero_point(self) -> tuple[int, ...]:
        """:math:`z_c`."""
        return tuple(int(np.floor(255 * m + 0.5)) for m in self.mean)

    def __call__(self, images: jax.Array) -> QArray:
        """Centers pixels.

        Args:
          images: uint8, shape ``(..., channels)``.

        Returns:
          A QArray with a scale of shape ``(channels,)``.

        Raises:
          TypeError: if the images are not uint8.
          ValueError: if they have another number of channels.
        """
        if images.dtype != jnp.uint8:
            raise TypeError(
                f"images of an integer-only network must be uint8 pixels, got {images.dtype}: "
                "do not normalize them."
            )
        if images.shape[-1:] != (len(self.mean),):
            raise ValueError(
                f"images must have {len(self.mean)} channels last, got shape {images.shape}."
            )
        zero = np.asarray(self.zero_point, np.int32).reshape((1,) * (images.ndim - 1) + (-1,))
        codes = images.astype(jnp.int32) - zero
        if not self.deterministic:
            codes = codes.astype(jnp.float32)
        scale = jnp.asarray(1 / (255 * np.asarray(self.std)), jnp.float32)
        largest = max(max(z, 255 - z) for z in self.zero_point)
        return QArray(codes, scale, largest)
