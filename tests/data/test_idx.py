import gzip
import struct

import numpy as np
import pytest

from n2uq_jax.data.idx import read_idx, read_idx_folder


def encode(array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_folder(folder, zipped=False, **replacements):
    """Four small files; a keyword such as train_labels replaces that file's bytes."""
    rng = np.random.default_rng(0)
    arrays = {
        "train-images-idx3-ubyte": rng.integers(0, 256, (6, 5, 4)),
        "train-labels-idx1-ubyte": np.arange(6) % 3,
        "t10k-images-idx3-ubyte": rng.integers(0, 256, (2, 5, 4)),
        "t10k-labels-idx1-ubyte": np.array([2, 0]),
    }
    for name, array in arrays.items():
        key = name.split("-idx")[0].replace("-", "_")
        content = replacements.get(key, encode(array))
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return arrays


@pytest.mark.parametrize("zipped", [False, True])
def test_round_trip(tmp_path, zipped):
    arrays = write_folder(tmp_path, zipped)
    train, evaluation = read_idx_folder(tmp_path)
    np.testing.assert_array_equal(train.images[..., 0], arrays["train-images-idx3-ubyte"])
    np.testing.assert_array_equal(train.labels, [0, 1, 2, 0, 1, 2])
    np.testing.assert_array_equal(evaluation.images[..., 0], arrays["t10k-images-idx3-ubyte"])
    assert evaluation[1]["label"] == 0
    assert train.images.dtype == np.uint8
    assert train.labels.dtype == np.int32


IMAGES = encode(np.zeros((6, 5, 4)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "too short for an IDX header"),
        (b"\x00\x00\x0d\x03" + IMAGES[4:], "starts with bytes 00 00 0d 03"),
        (b"\x89PNG" + IMAGES[4:], "starts with bytes 89 50 4e 47"),
        (IMAGES[:10], "an IDX header of 16 was announced"),
        (IMAGES[:-1], r"header announces shape \(6, 5, 4\), that is 120 values, but 119 follow"),
        (IMAGES + b"\x00", "but 121 follow"),
    ],
    ids=["empty", "other type", "no idx", "torn header", "torn", "too long"],
)
def test_damaged_file_is_named(tmp_path, content, message):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_idx(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("damage", ["truncated", "no gzip"])
def test_damaged_gzip_is_named(tmp_path, damage):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    whole = gzip.compress(IMAGES)  # here, not in an id: it holds the time
    path.write_bytes(whole[:-12] if damage == "truncated" else b"not gzip at all")
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz: not a whole gzip file"):
        read_idx(path)


@pytest.mark.parametrize(
    ("replacement", "message"),
    [
        ({"train_labels": encode(np.zeros(5))}, "holds 6 images, but .*train-labels.* 5 labels"),
        ({"train_labels": encode(np.zeros((6, 1)))}, r"train-labels.*shape \(6, 1\), expected"),
        ({"t10k_images": encode(np.zeros(2))}, r"t10k-images.*shape \(2,\), expected"),
        ({"t10k_images": encode(np.zeros((2, 5, 5)))}, "training images are"),
        (
            {"t10k_images": encode(np.zeros((0, 5, 4))), "t10k_labels": encode(np.zeros(0))},
            "no images",
        ),
    ],
)
def test_files_that_do_not_belong_together(tmp_path, replacement, message):
    write_folder(tmp_path, **replacement)
    with pytest.raises(ValueError, match=message):
        read_idx_folder(tmp_path)


def test_missing_file_and_folder_are_named(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="t10k-labels-idx1-ubyte"):
        read_idx_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"data_dir: no folder .*nowhere"):
        read_idx_folder(tmp_path / "nowhere")
