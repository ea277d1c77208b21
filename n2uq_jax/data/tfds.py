"""TFDS image classification data sets prepared as ArrayRecord, read without TensorFlow."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from n2uq_jax.data.crops import RandomResizedCrop, ResizeCenterCrop
from n2uq_jax.data.dataset import CorruptRecordError, Dataset, Interpolation, Record, Source
from n2uq_jax.data.prepare import prepare_command

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class TfdsSource:
    """One split; images come as the bytes of their files.

    Args:
      name: what messages call the split.
      records: TFDS's random-access source, image decoding left out.
    """

    name: str
    records: Any

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Record:
        name = f"{self.name}[{index}]"
        if not 0 <= index < len(self):
            raise IndexError(f"{name}: expected an index from 0 to {len(self) - 1}")
        try:
            record = self.records[index]
        except Exception as error:  # whatever ArrayRecord or the parser raise over damaged bytes
            raise CorruptRecordError(f"{name}: unreadable record ({error})") from error
        if "file_name" in record:
            name += f" ({record['file_name'].decode(errors='replace')})"
        return {"image": record["image"], "label": int(record["label"]), "name": name}


def load_tfds(
    name: str,
    data_dir: str | os.PathLike[str] | None,
    image_size: int,
    flip: bool,
    interpolation: Interpolation = "opencv",
) -> Dataset:
    """Opens a prepared TFDS data set.

    Evaluates on "validation", or on "test" where there is no such split. Training takes random
    resized crops; evaluation resizes the shorter side to 256/224 of `image_size` and takes the
    center. Pixels are normalized with ImageNet's statistics, and gray images become RGB.

    Args:
      name: TFDS name, such as "imagenet2012" or "cifar10:3.0.2".
      data_dir: the directory that holds the folder `name`; None: TFDS's default.
      image_size: side of the images in a batch, in pixels.
      flip: whether training mirrors half of the images.
      interpolation: what resizes training crops.

    Returns:
      The data set.

    Raises:
      FileNotFoundError: it is not prepared there; the message quotes the command that does it.
      ValueError: it was prepared in another format, or is not image classification.
    """
    import tensorflow_datasets as tfds

    where = os.fspath(data_dir) if data_dir is not None else str(tfds.core.constants.DATA_DIR)
    how = f'Prepare it once (extra "prepare"), with:\n  {prepare_command(name, where)}'
    try:
        builder = tfds.builder(name, data_dir=data_dir, try_gcs=False)
        prepared = builder.is_prepared()
    except tfds.core.DatasetNotFoundError:
        prepared = False
    if not prepared:
        raise FileNotFoundError(f"data set {name!r} is not in data_dir {where}. {how}")
    features, splits = builder.info.features, builder.info.splits
    if not {"image", "label"} <= set(features):
        raise ValueError(f"data set {name!r} has {sorted(features)}, expected image and label")
    held_out = "validation" if "validation" in splits else "test"
    for split in ("train", held_out):
        if split not in splits:
            raise ValueError(f"data set {name!r} in {where} has {sorted(splits)}, but no {split}")
    undecoded = {"image": tfds.decode.SkipDecoding()}
    try:
        train, evaluation = (
            TfdsSource(f"{name}/{split}", builder.as_data_source(split, decoders=undecoded))
            for split in ("train", held_out)
        )
    except NotImplementedError as error:
        raise ValueError(
            f"data set {name!r} in {where} is stored as {builder.info.file_format.value}, which "
            f"has no random access; expected array_record, in a data_dir of its own. {how}"
        ) from error
    label = features["label"]
    return as_dataset(
        name,
        train,
        evaluation,
        label.num_classes,
        image_size,
        flip,
        tuple(label.names),
        interpolation,
    )


def as_dataset(
    name: str,
    train: Source,
    evaluation: Source,
    num_classes: int,
    image_size: int,
    flip: bool,
    class_names: tuple[str, ...] | None = None,
    interpolation: Interpolation = "opencv",
) -> Dataset:
    """Joins two splits of images with ImageNet's crops and pixel statistics.

    Args:
      name: of the data set.
      train: records to train on.
      evaluation: records to evaluate on.
      num_classes: labels are below it.
      image_size: side of the images in a batch, in pixels.
      flip: whether training mirrors half of the images.
      class_names: one a class, if they are known.
      interpolation: what resizes training crops.

    Returns:
      The data set.
    """
    resize = round(image_size * 256 / 224)
    return Dataset(
        name=name,
        train=train,
        evaluation=evaluation,
        num_classes=num_classes,
        image_shape=(image_size, image_size, 3),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        train_transform=RandomResizedCrop(image_size, flip, interpolation),
        eval_transform=ResizeCenterCrop(resize, image_size),
        preprocessing={
            "resize_shorter_side": resize,
            "center_crop": [image_size, image_size],
            "interpolation": "bilinear, antialiased (Pillow)",
            "channels": "RGB",
            "layout": "NHWC",
            "pixels": "uint8, divided by 255",
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
        },
        class_names=class_names,
    )
