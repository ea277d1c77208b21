"""A folder of IDX files: the format of MNIST and of the sets that take its place.

Debian's package dataset-fashion-mnist, for instance, installs one in
/usr/share/datasets/fashion-mnist.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from n2uq_jax.data.dataset import ArraySource

_UNSIGNED_BYTE = 0x08


def read_idx(path: Path) -> np.ndarray:
    """Reads one IDX file of unsigned bytes, gzipped if its name ends in .gz.

    The header is two zero bytes, a type byte (8: unsigned), the number of dimensions, and each
    dimension as a big-endian 32-bit integer; the values follow, the last dimension fastest.

    Args:
      path: the file.

    Returns:
      uint8 array of the shape the header states.

    Raises:
      ValueError: the file is damaged, truncated, too long, or not IDX of unsigned bytes.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: not a whole gzip file ({error})") from error
    if len(data) < 4:
        raise ValueError(f"{path}: {len(data)} bytes, too short for an IDX header")
    if data[0] != 0 or data[1] != 0 or data[2] != _UNSIGNED_BYTE:
        raise ValueError(
            f"{path}: starts with bytes {data[:4].hex(' ')}, "
            "expected 00 00 08 and the number of dimensions (IDX of unsigned bytes)"
        )
    dimensions = data[3]
    start = 4 + 4 * dimensions
    if len(data) < start:
        raise ValueError(f"{path}: {len(data)} bytes, but an IDX header of {start} was announced")
    shape = struct.unpack(f">{dimensions}I", data[4:start])
    if len(data) - start != math.prod(shape):
        raise ValueError(
            f"{path}: header announces shape {shape}, that is {math.prod(shape)} values, "
            f"but {len(data) - start} follow"
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def read_idx_folder(folder: Path) -> tuple[ArraySource, ArraySource]:
    """Reads train-images, train-labels, t10k-images and t10k-labels.

    Args:
      folder: holds the four files, each named like train-images-idx3-ubyte, with or without .gz.

    Returns:
      (train, evaluation), images [H, W, 1].

    Raises:
      FileNotFoundError: the folder or one of the files is missing.
      ValueError: a file is damaged, or images and labels do not belong together.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"data_dir: no folder {folder}; expected one with four IDX files")
    train = _read_split(folder, "train")
    evaluation = _read_split(folder, "t10k")
    if train.images.shape[1:] != evaluation.images.shape[1:]:
        raise ValueError(
            f"{folder}: training images are {train.images.shape[1:]}, "
            f"test images {evaluation.images.shape[1:]}"
        )
    return train, evaluation


def _read_split(folder: Path, split: str) -> ArraySource:
    images_path = _find(folder, f"{split}-images", 3)
    labels_path = _find(folder, f"{split}-labels", 1)
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.ndim != 3:
        raise ValueError(f"{images_path}: shape {images.shape}, expected [N, height, width]")
    if labels.ndim != 1:
        raise ValueError(f"{labels_path}: shape {labels.shape}, expected [N]")
    if len(images) != len(labels):
        raise ValueError(
            f"{images_path} holds {len(images)} images, but {labels_path} {len(labels)} labels"
        )
    if len(images) == 0:
        raise ValueError(f"{images_path}: no images")
    return ArraySource(str(images_path), images[..., np.newaxis], labels.astype(np.int32))


def _find(folder: Path, stem: str, dimensions: int) -> Path:
    names = [
        f"{stem}{mark}idx{dimensions}-ubyte{zipped}" for mark in "-." for zipped in ("", ".gz")
    ]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"{folder}: none of {', '.join(names)}")
