"""ImageNet's two transforms of image files: random resized crop, and resize with center crop."""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
from PIL import Image

from n2uq_jax.data.dataset import Interpolation
from n2uq_jax.data.decode import decode_rgb, decode_rgb_fast, image_size

# An image is too small to share between cores, and the worker processes already use them all.
cv2.setNumThreads(0)

SCALE = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)


def sample_crop(height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Draws the box of a random resized crop, as torchvision's RandomResizedCrop does.

    Area uniform in 0.08..1 of the image's, logarithm of width/height uniform in ±log(4/3), place
    uniform among those where the box fits. After ten boxes that do not fit: the largest central one
    of an allowed ratio.

    Args:
      height: of the image, in pixels.
      width: of the image, in pixels.
      rng: what to draw from.

    Returns:
      (top, left, height, width) of the box, in pixels, inside the image.

    Reference:
      Szegedy et al., "Going Deeper with Convolutions", section 6.
    """
    for _ in range(10):
        size, shape, down, right = rng.random(4).tolist()
        area = height * width * (SCALE[0] + size * (SCALE[1] - SCALE[0]))
        ratio = RATIO[0] * (RATIO[1] / RATIO[0]) ** shape
        box_width = round(math.sqrt(area * ratio))
        box_height = round(math.sqrt(area / ratio))
        if 0 < box_width <= width and 0 < box_height <= height:
            top = int(down * (height - box_height + 1))
            left = int(right * (width - box_width + 1))
            return top, left, box_height, box_width
    box_width = min(width, max(1, round(height * RATIO[1])))
    box_height = min(height, max(1, round(width / RATIO[0])))
    return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width


@dataclasses.dataclass(frozen=True)
class RandomResizedCrop:
    """A random box of an image file, resized to a square.

    Where the box is at least twice the output in both directions, the file is decoded at 1/2, 3/8,
    1/4 or 1/8 of its size; the box is drawn beforehand, on the full size, and rounded to pixels of
    the smaller one. What remains is resized bilinearly, or by area averaging above a factor of 2,
    so that no pixel of the box goes unseen.

    Args:
      size: side of the result in pixels.
      flip: whether half of the images are mirrored left to right.
      interpolation: ``"opencv"``, as above; or ``"pillow"``, bilinear and antialiased on the whole
        decoded image, as torchvision does and the authors did: to the pixel, and slower.
    """

    size: int
    flip: bool = True
    interpolation: Interpolation = "opencv"

    def __call__(self, data: np.ndarray | bytes, rng: np.random.Generator) -> np.ndarray:
        """A random crop of the image file `data`: uint8 [size, size, 3]."""
        data = _check_bytes(data)
        height, width = image_size(data)
        top, left, box_height, box_width = sample_crop(height, width, rng)
        mirrored = rng.random() < 0.5
        draw = self._with_pillow if self.interpolation == "pillow" else self._with_opencv
        result = draw(data, top, left, box_height, box_width)
        return cv2.flip(result, 1) if self.flip and mirrored else result

    def _with_pillow(self, data: bytes, top: int, left: int, height: int, width: int) -> np.ndarray:
        box = Image.fromarray(decode_rgb(data)).crop((left, top, left + width, top + height))
        return np.asarray(box.resize((self.size, self.size), Image.Resampling.BILINEAR))

    def _with_opencv(self, data: bytes, top: int, left: int, height: int, width: int) -> np.ndarray:
        image, scale = decode_rgb_fast(
            data,
            rows=top + height,
            min_scale=max(self.size / height, self.size / width),
        )
        box = image[_span(top, height, scale), _span(left, width, scale)]
        averaging = max(box.shape[:2]) > 2 * self.size
        interpolation = cv2.INTER_AREA if averaging else cv2.INTER_LINEAR
        return cv2.resize(box, (self.size, self.size), interpolation=interpolation)


@dataclasses.dataclass(frozen=True)
class ResizeCenterCrop:
    """Resizes the shorter side and crops the center, to the pixel as torchvision does on Pillow.

    Published accuracies of torchvision's networks refer to these pixels.

    Args:
      resize: shorter side after resizing (bilinear, antialiased), in pixels.
      size: side of the square that is cropped from it, in pixels.
    """

    resize: int
    size: int

    def __call__(self, data: np.ndarray | bytes) -> np.ndarray:
        """The center of the image file `data`: uint8 [size, size, 3]."""
        image = Image.fromarray(decode_rgb(_check_bytes(data)))
        shorter = min(image.size)
        width, height = (int(self.resize * side / shorter) for side in image.size)
        resized = image.resize((width, height), Image.Resampling.BILINEAR)
        top, left = round((height - self.size) / 2), round((width - self.size) / 2)
        return np.asarray(resized)[top : top + self.size, left : left + self.size]


def _span(start: int, length: int, scale: float) -> slice:
    first = round(start * scale)
    return slice(first, max(first + 1, round((start + length) * scale)))


def _check_bytes(data: np.ndarray | bytes) -> bytes:
    if not isinstance(data, bytes):
        raise TypeError(f"data: {type(data).__name__}, expected the bytes of an image file")
    return data
