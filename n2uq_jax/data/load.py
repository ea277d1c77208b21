"""load(name): from a name in a config to a Dataset."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

import numpy as np

from n2uq_jax.data.augment import PadAndCrop, Resize
from n2uq_jax.data.dataset import ArraySource, Dataset, Interpolation, pixel_statistics


def load(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    image_size: int | None = None,
    *,
    crop_padding: int | None = None,
    flip: bool | None = None,
    interpolation: Interpolation = "opencv",
) -> Dataset:
    """Opens a data set.

    Args:
      name: "digits" (scikit-learn's), "idx" (a folder of IDX files), or the name of a TFDS image
        classification data set that was prepared as ArrayRecord, such as "imagenet2012".
      data_dir: for "idx" the folder; for TFDS the directory it prepared data sets in (None:
        TFDS's own default); "digits" has none.
      image_size: side of the square images in a batch, in pixels. None: 224 for TFDS, otherwise
        the size the images have.
      crop_padding: largest random shift in training, in pixels. None: 1 for digits, 2 for IDX.
        TFDS data sets use the random resized crop instead, and take none.
      flip: whether training mirrors half of the images. None: yes for TFDS, otherwise no.
      interpolation: what resizes TFDS's random crops: "opencv", fast; or "pillow", torchvision's
        pixels, which the authors trained on.

    Returns:
      The data set; reading a split costs nothing yet where it does not fit in memory.

    Raises:
      FileNotFoundError: the data set is not there; the message says how to get it.
      ValueError: an argument does not fit, or a file is damaged.
    """
    if image_size is not None and image_size < 1:
        raise ValueError(f"image_size: {image_size}, expected at least 1")
    if crop_padding is not None and crop_padding < 0:
        raise ValueError(f"crop_padding: {crop_padding}, expected at least 0")
    if interpolation not in get_args(Interpolation):
        raise ValueError(
            f"interpolation: {interpolation!r}, expected {' or '.join(get_args(Interpolation))}"
        )
    if interpolation != "opencv" and name in ("digits", "idx"):
        raise ValueError(f"interpolation: {interpolation}, but {name!r} takes no resized crops")
    if name == "digits":
        from n2uq_jax.data.digits import read_digits

        if data_dir is not None:
            raise ValueError(
                f"data_dir: {data_dir}, but digits come with scikit-learn; leave it out"
            )
        padding = 1 if crop_padding is None else crop_padding
        return _in_memory(name, read_digits(), image_size, padding, bool(flip))
    if name == "idx":
        from n2uq_jax.data.idx import read_idx_folder

        if data_dir is None:
            raise ValueError("data_dir: None, expected the folder that holds the four IDX files")
        padding = 2 if crop_padding is None else crop_padding
        return _in_memory(name, read_idx_folder(Path(data_dir)), image_size, padding, bool(flip))
    if crop_padding is not None:
        raise ValueError(f"crop_padding: {crop_padding}, but {name!r} uses a random resized crop")
    from n2uq_jax.data.tfds import load_tfds

    return load_tfds(name, data_dir, image_size or 224, flip is not False, interpolation)


def _in_memory(
    name: str,
    splits: tuple[ArraySource, ArraySource],
    image_size: int | None,
    padding: int,
    flip: bool,
) -> Dataset:
    train, evaluation = splits
    height, width, channels = train.images.shape[1:]
    size = (height, width) if image_size is None else (image_size, image_size)
    if padding >= min(size):
        raise ValueError(
            f"crop_padding: {padding}, expected less than the {min(size)} pixels of an image"
        )
    mean, std = pixel_statistics(train.images)
    return Dataset(
        name=name,
        train=train,
        evaluation=evaluation,
        num_classes=int(max(np.max(train.labels), np.max(evaluation.labels))) + 1,
        image_shape=(*size, channels),
        mean=mean,
        std=std,
        train_transform=PadAndCrop(size, padding, flip),
        eval_transform=Resize(size),
        preprocessing={
            "resize": list(size),
            "interpolation": "bilinear, antialiased (Pillow)",
            "channels": "grey",
            "layout": "NHWC",
            "pixels": "uint8, divided by 255",
            "mean": list(mean),
            "std": list(std),
        },
    )
