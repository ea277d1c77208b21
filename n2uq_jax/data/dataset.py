"""What a data set is to the pipeline: two random-access sources, and how to treat their images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, Protocol, TypedDict

import numpy as np

Interpolation = Literal["opencv", "pillow"]
"""What resizes the random crops that are trained on: see `n2uq_jax.data.crops`."""


class CorruptRecordError(ValueError):
    """A record whose image cannot be read; the pipeline counts and replaces it."""


class Record(TypedDict):
    """One undecoded example.

    Args:
      image: uint8 array [H, W, C], or the bytes of an image file.
      label: class number, from 0.
      name: what a message calls this record, such as "imagenet2012/train[17] (n01440764_18.JPEG)".
    """

    image: np.ndarray | bytes
    label: int
    name: str


class Source(Protocol):
    """Random access to the records of one split. Worker processes receive it pickled."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Record: ...


@dataclasses.dataclass(frozen=True)
class ArraySource:
    """A split that fits in memory.

    Args:
      name: what messages call the split.
      images: uint8 [N, H, W, C].
      labels: int32 [N].
    """

    name: str
    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Record:
        return {
            "image": self.images[index],
            "label": int(self.labels[index]),
            "name": f"{self.name}[{index}]",
        }


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A labeled image data set, ready for `train_batches` and `eval_batches`.

    Args:
      name: as given to `load`.
      train: records to train on.
      evaluation: records to evaluate on.
      num_classes: labels are below it.
      image_shape: (height, width, channels) of the images in a batch.
      mean: per channel, of pixels divided by 255.
      std: per channel, of pixels divided by 255.
      train_transform: (image or file bytes, generator) -> uint8 array of `image_shape`; random.
      eval_transform: (image or file bytes) -> uint8 array of `image_shape`; deterministic.
      preprocessing: describes `eval_transform` and the normalization, for manifests; JSON-able.
      class_names: one a class, where the data set has names.
    """

    name: str
    train: Source
    evaluation: Source
    num_classes: int
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train_transform: Callable[[np.ndarray | bytes, np.random.Generator], np.ndarray]
    eval_transform: Callable[[np.ndarray | bytes], np.ndarray]
    preprocessing: dict[str, Any]
    class_names: tuple[str, ...] | None = None


def pixel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of uint8 pixels divided by 255.

    Summed over a histogram in exact integers, so that the result is the same on every machine.

    Args:
      images: uint8 [N, H, W, C].

    Returns:
      (mean, std), each with C entries.
    """
    values = np.arange(256, dtype=np.int64)
    means, stds = [], []
    for channel in range(images.shape[-1]):
        counts = np.bincount(images[..., channel].reshape(-1), minlength=256).astype(np.int64)
        total = int(counts.sum())
        first = int((counts * values).sum())
        second = int((counts * values * values).sum())
        variance = (second * total - first * first) / (total * total)
        means.append(first / total / 255)
        stds.append(float(np.sqrt(variance)) / 255)
    return tuple(means), tuple(stds)
