import dataclasses

import numpy as np
import pytest

from n2uq_jax.data.dataset import CorruptRecordError
from n2uq_jax.data.examples import EvalExample, TrainExample, collate


@dataclasses.dataclass(frozen=True)
class Source:
    """Five images that hold their own number; some cannot be read."""

    broken: tuple[int, ...] = ()

    def __len__(self):
        return 5

    def __getitem__(self, index):
        if index in self.broken:
            raise CorruptRecordError(f"record {index}: torn")
        image = np.full((1, 1, 1), index, np.uint8)
        return {"image": image, "label": index % 3, "name": f"record {index}"}


def noisy(image, rng):
    return image + rng.integers(0, 200, image.shape, dtype=np.uint8)


def test_the_noise_of_an_example_depends_on_seed_epoch_and_record():
    def noise(seed, position, index):
        philox = np.random.Philox(key=seed, counter=[0, index, position // 5, 0])
        return noisy(np.uint8([[[index]]]), np.random.Generator(philox))

    for seed, position, index in ((0, 0, 3), (0, 4, 3), (0, 5, 3), (1, 0, 3), (0, 0, 2)):
        example = TrainExample(Source(), noisy, seed, max_bad_records=0)(position, index)
        np.testing.assert_array_equal(example["image"], noise(seed, position, index))
        assert (example["index"], example["label"]) == (index, index % 3)


def test_a_corrupt_record_gives_way_to_the_next_around_the_end():
    example = TrainExample(Source(broken=(3, 4)), noisy, 0, max_bad_records=2)(0, 3)
    assert example["index"] == 0
    assert example["bad_records"] == ["record 3: torn", "record 4: torn"]
    with pytest.raises(RuntimeError, match="2 corrupt records in a row, with max_bad_records=1"):
        TrainExample(Source(broken=(3, 4)), noisy, 0, max_bad_records=1)(0, 3)


def test_evaluation_fills_up_beyond_the_end_and_where_a_record_is_corrupt():
    example = EvalExample(Source(broken=(1,)), lambda image: image, (1, 1, 1))
    whole, corrupt, beyond = example(2), example(1), example(5)
    assert (whole["index"], whole["weight"], whole["bad_records"]) == (2, 1.0, [])
    for filling, bad in ((corrupt, ["record 1: torn"]), (beyond, [])):
        assert (filling["index"], filling["label"], filling["weight"]) == (-1, 0, 0.0)
        assert not filling["image"].any()
        assert filling["bad_records"] == bad


def test_a_transform_that_fails_names_the_record():
    def fail(image):
        raise CorruptRecordError("no image")

    example = EvalExample(Source(), fail, (1, 1, 1))(4)
    assert example["bad_records"] == ["record 4: no image"]


def test_collate_stacks_with_fixed_dtypes_and_joins_descriptions():
    example = EvalExample(Source(broken=(1,)), lambda image: image, (1, 1, 1))
    batch = collate([example(0), example(1), example(2)])
    dtypes = {"image": "uint8", "label": "int32", "index": "int64", "weight": "float32"}
    assert {key: str(batch[key].dtype) for key in dtypes} == dtypes
    np.testing.assert_array_equal(batch["index"], [0, -1, 2])
    assert batch["image"].shape == (3, 1, 1, 1)
    assert batch["bad_records"] == ("record 1: torn",)
