import json
import subprocess
import sys

import numpy as np
import pytest

from n2uq_jax import data


def write_idx(folder, shape=(5, 4)):
    for split, count in (("train", 6), ("t10k", 2)):
        images = np.arange(count * shape[0] * shape[1], dtype=np.uint8)
        header = bytes([0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, shape[0], 0, 0, 0, shape[1]])
        (folder / f"{split}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        labels = bytes([0, 0, 8, 1, 0, 0, 0, count, *range(count)])
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(labels)


def test_digits():
    dataset = data.load("digits")
    assert (dataset.name, dataset.num_classes, dataset.image_shape) == ("digits", 10, (8, 8, 1))
    assert dataset.train_transform.padding == 1
    assert not dataset.train_transform.flip
    assert json.loads(json.dumps(dataset.preprocessing))["mean"] == list(dataset.mean)
    assert dataset.class_names is None


def test_idx_and_its_options(tmp_path):
    write_idx(tmp_path)
    dataset = data.load("idx", tmp_path)
    assert (dataset.num_classes, dataset.image_shape) == (6, (5, 4, 1))
    assert (dataset.train_transform.padding, dataset.train_transform.flip) == (2, False)
    other = data.load("idx", str(tmp_path), image_size=8, crop_padding=1, flip=True)
    assert other.image_shape == (8, 8, 1)
    assert (other.train_transform.padding, other.train_transform.flip) == (1, True)
    assert next(data.train_batches(other, 3))["image"].shape == (3, 8, 8, 1)
    assert next(data.eval_batches(other, 4))["image"].shape == (4, 8, 8, 1)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("digits", {"data_dir": "/somewhere"}, "data_dir: /somewhere, but digits"),
        ("idx", {}, "data_dir: None, expected the folder"),
        ("digits", {"image_size": 0}, "image_size: 0"),
        ("digits", {"crop_padding": -1}, "crop_padding: -1"),
        ("digits", {"crop_padding": 8}, "crop_padding: 8, expected less than the 8 pixels"),
        ("digits", {"interpolation": "pillow"}, "interpolation: pillow, but 'digits' takes no"),
        ("digits", {"interpolation": "cubic"}, "interpolation: 'cubic', expected opencv or pillow"),
        ("imagenet2012", {"crop_padding": 4}, "crop_padding: 4, but 'imagenet2012'"),
    ],
)
def test_arguments_that_do_not_fit(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        data.load(name, **arguments)


def test_importing_needs_no_heavy_package():
    heavy = ["grain", "tensorflow", "tensorflow_datasets", "cv2", "PIL", "sklearn", "simplejpeg"]
    code = f"import sys, n2uq_jax.data; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert result.stdout.strip() == "[]"
