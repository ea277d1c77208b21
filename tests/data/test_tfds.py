"""What the real imagenet2012 builder made of tiny tars, read the way training reads it."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from n2uq_jax import data
from n2uq_jax.data.decode import decode_rgb
from tests.data import tiny_imagenet as tiny

pytest.importorskip("tensorflow_datasets", reason="the extra tfds is not installed")

pytestmark = pytest.mark.extra


@pytest.fixture
def imagenet(imagenet_dir):
    return data.load("imagenet2012", imagenet_dir, image_size=64)


def by_file_name(source):
    return {record["name"].split("(")[1].rstrip(")"): record for record in source}


def test_all_images_arrive_with_their_labels(imagenet):
    files = tiny.train_files(images_per_synset=6)
    records = by_file_name(imagenet.train)
    assert records.keys() == {name for synset in files.values() for name in synset}
    for synset, contents in files.items():
        for name, content in contents.items():
            assert imagenet.class_names[records[name]["label"]] == synset
            if name not in (tiny.KNOWN_CMYK, tiny.KNOWN_PNG):
                assert records[name]["image"] == content
    assert len(imagenet.evaluation) == 10
    assert imagenet.num_classes == len(imagenet.class_names) == 1000


@pytest.mark.parametrize(
    ("name", "seed", "mode"),
    [
        (tiny.KNOWN_CMYK, 1, "RGB"),
        (tiny.KNOWN_PNG, 2, "RGB"),
        (tiny.RAW_GREY, 3, "L"),
        (tiny.RAW_CMYK, 4, "RGB"),
        (tiny.RAW_PNG, 5, "RGB"),
    ],
)
def test_unusual_images_are_readable(imagenet, name, seed, mode):
    decoded = decode_rgb(by_file_name(imagenet.train)[name]["image"])
    expected = np.asarray(tiny.random_image(seed).convert(mode).convert("RGB")).astype(int)
    assert np.abs(decoded - expected).mean() < 4


def test_truncated_image_is_named_and_replaced(imagenet):
    iterator = data.train_batches(imagenet, len(imagenet.train))
    batch = next(iterator)
    assert batch["image"].shape == (30, 64, 64, 3)
    (description,) = iterator.bad_records
    assert description.startswith("imagenet2012/train[")
    assert f"({tiny.TRUNCATED}): JPEG image of" in description
    assert len(set(batch["index"])) == 29


def test_evaluation_in_two_processes(imagenet):
    parts = [
        list(data.eval_batches(imagenet, 8, process_index=index, process_count=2))
        for index in range(2)
    ]
    assert [len(part) for part in parts] == [2, 2]
    weights = np.array([[batch["weight"] for batch in part] for part in parts])
    indices = np.array([[batch["index"] for batch in part] for part in parts])
    assert sorted(indices[weights == 1]) == list(range(10))
    assert weights.sum() == 10


def test_workers_read_the_same_batches(imagenet):
    with data.train_batches(imagenet, 8, num_workers=2) as workers:
        plain = data.train_batches(imagenet, 8)
        for _ in range(5):
            left, right = next(workers), next(plain)
            for key in right:
                np.testing.assert_array_equal(left[key], right[key])
        assert workers.bad_records == plain.bad_records


def test_training_imports_no_tensorflow(imagenet_dir):
    code = f"""
import sys
from n2uq_jax import data
next(data.train_batches(data.load("imagenet2012", {str(imagenet_dir)!r}, 64), 8))
print("tensorflow" in sys.modules)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120
    )
    assert result.stdout.strip() == "False"


def test_default_size_and_preprocessing(imagenet_dir):
    dataset = data.load("imagenet2012", imagenet_dir)
    assert dataset.image_shape == (224, 224, 3)
    assert dataset.mean == (0.485, 0.456, 0.406)
    description = json.loads(json.dumps(dataset.preprocessing))
    assert description["resize_shorter_side"] == 256
    assert description["center_crop"] == [224, 224]
    assert not data.load("imagenet2012", imagenet_dir, flip=False).train_transform.flip


def test_damaged_file_costs_the_records_it_hits(imagenet, imagenet_dir, tmp_path):
    shutil.copytree(imagenet_dir / "imagenet2012", tmp_path / "imagenet2012")
    (path,) = tmp_path.glob("imagenet2012/*/imagenet2012-train.array_record*")
    content = bytearray(path.read_bytes())
    content[300:305] = bytes(value ^ 255 for value in content[300:305])
    path.write_bytes(content)
    damaged = data.load("imagenet2012", tmp_path, 64).train
    with pytest.raises(data.CorruptRecordError, match=r"imagenet2012/train\[0\]: unreadable"):
        damaged[0]
    for index in range(1, 30):
        assert damaged[index] == imagenet.train[index]


def test_missing_data_set_quotes_the_command(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        data.load("imagenet2012", tmp_path)
    assert f"n2uq prepare --manual_dir TARS --data_dir {tmp_path}" in str(error.value)
    with pytest.raises(FileNotFoundError, match="data set 'no_such_set' is not in"):
        data.load("no_such_set", tmp_path)


def test_format_without_random_access_is_refused(imagenet_dir, tmp_path):
    shutil.copytree(imagenet_dir / "imagenet2012", tmp_path / "imagenet2012")
    (info,) = tmp_path.glob("imagenet2012/*/dataset_info.json")
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(ValueError, match="stored as tfrecord, which has no random access"):
        data.load("imagenet2012", tmp_path)
