"""Scikit-learn's handwritten digits: 1,797 gray images of 8×8, inside the package, no download."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from n2uq_jax.data.dataset import ArraySource


def read_digits() -> tuple[ArraySource, ArraySource]:
    """Reads the digits and splits them, always in the same way.

    Pixels 0..16 become round(255/16 · pixel). In the data set's order, every fifth image of each
    class is for evaluation and the others for training, so both have the classes in the same
    proportion. Both hold images of the same writers.

    Returns:
      (train, evaluation), of 1,442 and 355 images [8, 8, 1].

    Raises:
      ModuleNotFoundError: if scikit-learn, whose file it is, is not installed.
    """
    # `import sklearn` alone would take seconds.
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")
    table = np.loadtxt(Path(package.origin).parent / "datasets/data/digits.csv.gz", delimiter=",")
    images = np.rint(table[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    labels = table[:, 64].astype(np.int32)
    rank_in_class = np.empty_like(labels)
    for label in np.unique(labels):
        members = labels == label
        rank_in_class[members] = np.arange(members.sum())
    held_out = rank_in_class % 5 == 4
    train = ArraySource("digits/train", images[~held_out], labels[~held_out])
    evaluation = ArraySource("digits/test", images[held_out], labels[held_out])
    return train, evaluation
