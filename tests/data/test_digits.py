import numpy as np
import pytest

from n2uq_jax.data.digits import read_digits


@pytest.fixture(scope="module")
def bunch():
    """The digits as scikit-learn reads them; the import takes seconds."""
    from sklearn.datasets import load_digits

    return load_digits()


def test_every_digit_is_in_exactly_one_split(bunch):
    train, evaluation = read_digits()
    assert (len(train), len(evaluation)) == (1442, 355)
    ours = np.concatenate([train.images, evaluation.images])[..., 0].reshape(1797, 64)
    theirs = np.rint(bunch.images.reshape(1797, 64) * 255 / 16).astype(np.uint8)
    assert sorted(map(bytes, ours)) == sorted(map(bytes, theirs))


def test_pixels_use_the_whole_range():
    train, _ = read_digits()
    assert train.images.dtype == np.uint8
    assert train.images.shape[1:] == (8, 8, 1)
    assert set(np.unique(train.images)) == {round(255 * v / 16) for v in range(17)}


@pytest.mark.parametrize("label", range(10))
def test_classes_are_split_in_proportion(bunch, label):
    train, evaluation = read_digits()
    total = int(np.sum(bunch.target == label))
    assert np.sum(evaluation.labels == label) == total // 5
    assert np.sum(train.labels == label) == total - total // 5


def test_records_have_label_and_name():
    record = read_digits()[1][0]
    assert record["name"] == "digits/test[0]"
    assert record["image"].shape == (8, 8, 1)
    assert record["label"] in range(10)
