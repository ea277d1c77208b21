"""Transforms of small images that arrive as arrays: pad and crop, flip, resize."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class PadAndCrop:
    """Shifts an image by up to `padding` pixels either way, zeros moving in, and may flip it.

    Args:
      size: (height, width) the image is resized to before.
      padding: largest shift in pixels.
      flip: whether half of the images are mirrored left to right.
    """

    size: tuple[int, int]
    padding: int = 0
    flip: bool = False

    def __call__(self, image: np.ndarray | bytes, rng: np.random.Generator) -> np.ndarray:
        """A random shift of `image`, uint8 [H, W, C]."""
        resized = Resize(self.size)(image)
        height, width = self.size
        # One call, since rng.integers takes as long as all the rest of a small image.
        down, right, side = rng.random(3).tolist()
        down, right = (self.padding - int(u * (2 * self.padding + 1)) for u in (down, right))
        shifted = np.zeros_like(resized)  # np.pad takes ten times as long for small images
        shifted[_overlap(down, height), _overlap(right, width)] = resized[
            _overlap(-down, height), _overlap(-right, width)
        ]
        return shifted[:, ::-1] if self.flip and side < 0.5 else shifted


def _overlap(shift: int, length: int) -> slice:
    """Where an axis that moved by ``shift`` lies within its old bounds."""
    return slice(max(shift, 0), max(length + min(shift, 0), 0))


@dataclasses.dataclass(frozen=True)
class Resize:
    """Resizes to `size` (height, width), bilinear with antialiasing; a no-op at that size."""

    size: tuple[int, int]

    def __call__(self, image: np.ndarray | bytes) -> np.ndarray:
        """`image`, uint8 [H, W, C], at the new size."""
        if isinstance(image, bytes):
            raise TypeError("Resize: image is bytes, expected a uint8 array [H, W, C]")
        if image.shape[:2] == self.size:
            return image
        from PIL import Image

        height, width = self.size
        channels = [
            np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR))
            for plane in np.moveaxis(image, -1, 0)
        ]
        return np.stack(channels, axis=-1)
