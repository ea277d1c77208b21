"""Classifies images with an integer model; ``python -m n2uq_jax.predict`` is ``n2uq predict``."""

import dataclasses
import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

MUCH_SMALLER = 8
"""An image that shrinks by this factor has lost what it showed."""

CLEARLY = 0.25
"""So much nearer to the training data's mean is the negative of an inverted image."""


def predict(
    directory: str | os.PathLike[str], paths: Sequence[str], top: int = 5, engine: str = "xla"
) -> list[list[tuple[str, float]]]:
    """Classifies image files.

    Args:
      directory: an artifact.
      paths: image files.
      top: how many classes to return.
      engine: ``"xla"`` or ``"c"``.

    Returns:
      For each image the likeliest classes, as (name, probability).

    Raises:
      FileNotFoundError: if the artifact or an image is missing.
      ValueError: if a file is no image, or the artifact does not say how to preprocess one.
    """
    from n2uq_jax.export.artifact.artifact import load_artifact
    from n2uq_jax.workdir.accuracy import ranked

    artifact = load_artifact(directory, engine)
    names = artifact.manifest["class_names"]
    results = []
    for path in paths:
        read = read_pixels if artifact.manifest.get("image_dtype") == "uint8" else read_image
        image = read(path, artifact.manifest["preprocessing"])
        logits = np.asarray(artifact(image[None]), np.float64)[0]
        odds = np.exp(logits - logits.max())
        likeliest = ranked(logits, top)
        results.append(
            [(names[i] if names else f"class {i}", float(odds[i] / odds.sum())) for i in likeliest]
        )
    return results


def read_image(path: str, preprocessing: dict[str, Any] | None) -> np.ndarray:
    """Reads an image file as the normalized input of a network.

    Args:
      path: as in :func:`read_pixels`.
      preprocessing: as there, with ``"mean"`` and ``"std"``.

    Returns:
      float32, shape ``(height, width, channels)``.
    """
    pixels = read_pixels(path, preprocessing).astype(np.float32) / np.float32(255)
    assert preprocessing is not None
    mean, std = (np.asarray(preprocessing[key], np.float32) for key in ("mean", "std"))
    return ((pixels - mean) / std).astype(np.float32)


def read_pixels(path: str, preprocessing: dict[str, Any] | None) -> np.ndarray:
    """Reads an image file as pixels, the input of an integer-only network.

    Args:
      path: of any format that Pillow reads.
      preprocessing: what the manifest says: ``"resize"`` to (height, width), or
        ``"resize_shorter_side"`` and ``"center_crop"``; ``"channels"``.

    Returns:
      uint8, shape ``(height, width, channels)``.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is no image, or the preprocessing is not known.
    """
    from PIL import Image, UnidentifiedImageError

    if preprocessing is None:
        raise ValueError("the artifact does not say how to preprocess an image.")
    try:
        with Image.open(path) as file:
            image = file.convert("L" if preprocessing["channels"] == "grey" else "RGB")
    except UnidentifiedImageError as error:
        raise ValueError(f"{path} is no image that Pillow reads.") from error
    if "resize" in preprocessing:
        height, width = preprocessing["resize"]
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
    else:
        image = _center_crop(
            image, preprocessing["resize_shorter_side"], preprocessing["center_crop"]
        )
    pixels = np.asarray(image, np.uint8)
    return pixels.reshape(*pixels.shape[:2], -1)


def _center_crop(image, shorter_side: int, size: Sequence[int]):
    from PIL import Image

    width, height = (int(shorter_side * side / min(image.size)) for side in image.size)
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    top, left = round((height - size[0]) / 2), round((width - size[1]) / 2)
    return resized.crop((left, top, left + size[1], top + size[0]))


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a network gets to see of an image file.

    Args:
      size: width and height of the file's image.
      pixels: what the network sees, uint8, shape ``(height, width, channels)``.
      warnings: what makes it differ from what the network was trained on.
    """

    size: tuple[int, int]
    pixels: np.ndarray
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        height, width, channels = self.pixels.shape
        color = "grey" if channels == 1 else "RGB"
        came = "{}x{}".format(*self.size)
        return f"{width}x{height} {color}, mean {self.pixels.mean() / 255:.2f}, of {came} pixels"

    def thumbnail(self, rows: int = 12) -> str:
        """Draws the image with characters, light pixels as full blocks.

        Args:
          rows: at most so many lines.
        """
        step = -(-len(self.pixels) // rows)
        shades = self.pixels[::step, ::step].mean(-1).astype(int) * 5 // 256
        return "\n".join("".join(2 * " ░▒▓█"[shade] for shade in row) for row in shades)


def look(path: str, preprocessing: dict[str, Any] | None) -> Seen:
    """Looks at an image file as a network does, and says what may mislead it.

    Args:
      path: as in :func:`read_pixels`.
      preprocessing: as there; with the training data's ``"mean"`` and ``"std"``.

    Returns:
      The pixels, and warnings: an image that was shrunk :data:`MUCH_SMALLER` times or more, that
      has lost its transparency, or whose negative is nearer to the training data.
    """
    from PIL import Image

    pixels = read_pixels(path, preprocessing)
    assert preprocessing is not None
    with Image.open(path) as file:
        size = file.size
        alpha = np.asarray(file.convert("RGBA").getchannel("A")).min()
    warnings = []
    shrunk = min(size[0] / pixels.shape[1], size[1] / pixels.shape[0])
    if shrunk >= MUCH_SMALLER:
        warnings.append(f"shrunk {shrunk:.0f}-fold: crop it to what it shows")
    if alpha < 255:
        warnings.append("its transparency was dropped: paint it on a background first")
    mean, usual = float(pixels.mean()) / 255, float(np.mean(preprocessing["mean"]))
    if abs(mean - usual) > abs(1 - mean - usual) + CLEARLY:
        warnings.append(
            f"inverted, it seems: its mean is {mean:.2f}, that of the training images {usual:.2f}"
        )
    return Seen(size, pixels, tuple(warnings))


if __name__ == "__main__":
    from n2uq_jax.cli.command import run

    sys.exit(run(["predict", *sys.argv[1:]]))
