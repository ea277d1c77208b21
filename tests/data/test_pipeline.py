import dataclasses
import json

import numpy as np
import pytest

from n2uq_jax import data
from n2uq_jax.data.dataset import ArraySource, CorruptRecordError


def take(iterator, count):
    return [next(iterator) for _ in range(count)]


def joined(parts):
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def assert_same(left, right):
    assert left.keys() == right.keys()
    for key in left:
        assert left[key].dtype == right[key].dtype
        np.testing.assert_array_equal(left[key], right[key])


@dataclasses.dataclass(frozen=True)
class Broken:
    """A source some of whose records cannot be read."""

    source: ArraySource
    broken: tuple[int, ...]

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        if index in self.broken:
            raise CorruptRecordError(f"record {index}: torn")
        return self.source[index]


def add_noise(image, rng):
    return image + rng.integers(0, 100, image.shape, dtype=np.uint8)


def tiny(count=10, broken=()):
    """Images that hold nothing but their own number."""
    images = np.broadcast_to(
        np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 2, 2, 1)
    )
    source = Broken(ArraySource("tiny", images, np.arange(count, dtype=np.int32) % 3), broken)
    return data.Dataset(
        name="tiny",
        train=source,
        evaluation=source,
        num_classes=3,
        image_shape=(2, 2, 1),
        mean=(0.5,),
        std=(0.5,),
        train_transform=add_noise,
        eval_transform=lambda image: image,
        preprocessing={},
    )


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def test_batch_holds_the_augmented_records(digits):
    batch = next(data.train_batches(digits, 16, seed=1))
    assert batch["image"].shape == (16, 8, 8, 1)
    assert batch["image"].dtype == np.uint8
    assert batch["label"].dtype == np.int32
    assert batch["index"].dtype == np.int64
    np.testing.assert_array_equal(batch["label"], digits.train.labels[batch["index"]])
    for image, index in zip(batch["image"], batch["index"], strict=True):
        rng = np.random.Generator(np.random.Philox(key=1, counter=[0, index, 0, 0]))
        expected = digits.train_transform(digits.train.images[index], rng)
        np.testing.assert_array_equal(image, expected)


def test_each_epoch_is_another_order_of_all_records():
    indices = np.concatenate([batch["index"] for batch in take(data.train_batches(tiny(), 4), 15)])
    epochs = indices.reshape(6, 10)
    for epoch in epochs:
        assert sorted(epoch) == list(range(10))
    assert len({epoch.tobytes() for epoch in epochs}) > 4


def test_augmentation_changes_with_epoch_and_seed_alone():
    def noise(seed):
        batches = joined(take(data.train_batches(tiny(), 10, seed=seed), 2))
        order = np.lexsort([batches["index"], np.repeat([0, 1], 10)])
        return batches["image"][order].reshape(2, 10, 2, 2, 1)

    first, again, other = noise(0), noise(0), noise(1)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("count", [2, 8])
def test_processes_hold_contiguous_parts_of_the_same_global_batches(digits, count):
    whole = take(data.train_batches(digits, 48, seed=7), 40)
    parts = [
        data.train_batches(digits, 48, seed=7, process_index=index, process_count=count)
        for index in range(count)
    ]
    for batch in whole:
        assert_same(joined([next(part) for part in parts]), batch)


@pytest.mark.slow
@pytest.mark.parametrize("copy", [True, False])
def test_workers_change_nothing(digits, copy):
    with data.train_batches(digits, 48, num_workers=2, copy=copy) as workers:
        batches = take(workers, 5)
        assert all((type(v) is np.ndarray) == copy for batch in batches for v in batch.values())
        for batch, expected in zip(batches, take(data.train_batches(digits, 48), 5), strict=True):
            assert_same(batch, expected)
        state = workers.get_state()
    assert_same(
        next(data.train_batches(digits, 48, start_step=state["step"])),
        take(data.train_batches(digits, 48), 6)[5],
    )


def test_resume_on_another_process_count(digits):
    whole = take(data.train_batches(digits, 48, seed=7), 45)
    saved = data.train_batches(digits, 48, seed=7, process_index=1, process_count=2)
    take(saved, 35)
    state = json.loads(json.dumps(saved.get_state()))
    assert state["step"] == 35
    parts = []
    for index in range(4):
        part = data.train_batches(digits, 48, seed=7, process_index=index, process_count=4)
        next(part)
        part.set_state(state)
        parts.append(part)
    for batch in whole[35:]:
        assert_same(joined([next(part) for part in parts]), batch)


def test_state_of_another_run_is_refused(digits):
    state = data.train_batches(digits, 48, seed=7).get_state()
    for other in (
        data.train_batches(digits, 24, seed=7),
        data.train_batches(digits, 48, seed=8),
        data.train_batches(tiny(), 48, seed=7),
    ):
        with pytest.raises(ValueError, match=r"state: .*expected a step and"):
            other.set_state(state)


@pytest.mark.parametrize("batch_size", [4, 8, 64])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_evaluation_shows_every_image_once(batch_size, count):
    dataset = tiny(17)
    parts = [
        data.eval_batches(dataset, batch_size, process_index=index, process_count=count)
        for index in range(count)
    ]
    length = -(-17 // batch_size)
    assert [len(part) for part in parts] == [length] * count
    batches = [list(part) for part in parts]
    assert [len(part) for part in batches] == [length] * count
    everything = joined([joined(step) for step in zip(*batches, strict=True)])
    real = everything["weight"] == 1
    np.testing.assert_array_equal(everything["index"][real], np.arange(17))
    np.testing.assert_array_equal(everything["image"][real, 0, 0, 0], np.arange(17))
    np.testing.assert_array_equal(everything["label"][real], np.arange(17) % 3)
    assert everything["weight"].dtype == np.float32
    assert everything["weight"].sum() == 17
    assert len(everything["label"]) == length * batch_size
    assert not everything["image"][~real].any()
    assert set(everything["index"][~real]) <= {-1}


def test_evaluation_resumes_and_ends(digits):
    batches = list(data.eval_batches(digits, 100))
    resumed = data.eval_batches(digits, 100)
    resumed.set_state({**resumed.get_state(), "step": 3})
    assert_same(next(resumed), batches[3])
    with pytest.raises(StopIteration):
        next(resumed)
    resumed.set_state({**resumed.get_state(), "step": 4})
    with pytest.raises(StopIteration):
        next(resumed)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_corrupt_training_records_are_replaced_counted_and_named(caplog, workers):
    dataset = tiny(10, broken=(3, 4, 9))
    with data.train_batches(dataset, 10, num_workers=workers, max_bad_records=3) as iterator:
        batches = take(iterator, 2)
        assert sorted(iterator.bad_records) == [f"record {n}: torn" for n in (3, 4, 9)]
    for batch in batches:  # 3 and 4 become 5, and 9 becomes 0
        assert sorted(batch["index"]) == [0, 0, 1, 2, 5, 5, 5, 6, 7, 8]
        np.testing.assert_array_equal(batch["label"], batch["index"] % 3)
    named = [record.getMessage() for record in caplog.records]
    assert sorted(named) == [f"skipped a corrupt record: record {n}: torn" for n in (3, 4, 9)]


def test_too_many_corrupt_records_are_an_error():
    with pytest.raises(RuntimeError, match=r"3 corrupt .*max_bad_records=2: .*record .*: torn"):
        next(data.train_batches(tiny(10, broken=(1, 5, 8)), 10, max_bad_records=2))
    with pytest.raises(RuntimeError, match="10 corrupt records in a row"):
        next(data.train_batches(tiny(10, broken=tuple(range(10))), 10))


def test_corrupt_evaluation_records_weigh_nothing():
    iterator = data.eval_batches(tiny(10, broken=(3,)), 5)
    batches = joined(list(iterator))
    np.testing.assert_array_equal(batches["weight"], [1, 1, 1, 0, 1, 1, 1, 1, 1, 1])
    assert iterator.bad_records == ("record 3: torn",)
    with pytest.raises(RuntimeError, match="max_bad_records=0"):
        list(data.eval_batches(tiny(10, broken=(3,)), 5, max_bad_records=0))


def test_transform_failure_names_the_record():
    def fail(image):
        raise CorruptRecordError("not an image")

    dataset = dataclasses.replace(tiny(2), eval_transform=fail)
    iterator = data.eval_batches(dataset, 2)
    list(iterator)
    assert iterator.bad_records == ("tiny[0]: not an image", "tiny[1]: not an image")


def test_steps_per_epoch(digits):
    assert data.steps_per_epoch(digits, 128) == 11
    assert data.steps_per_epoch(digits, 5000) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size: 0"),
        ({"batch_size": 9, "process_count": 2}, "batch_size: 9, .*multiple of process_count 2"),
        ({"batch_size": 8, "process_index": 2, "process_count": 2}, "process_index: 2"),
        ({"batch_size": 8, "num_workers": -1}, "num_workers: -1"),
        ({"batch_size": 8, "max_bad_records": -1}, "max_bad_records: -1"),
    ],
)
def test_arguments_out_of_range(arguments, message):
    for batches in (data.train_batches, data.eval_batches):
        with pytest.raises(ValueError, match=message):
            batches(tiny(), **arguments)


def test_seed_and_step_out_of_range():
    with pytest.raises(ValueError, match="seed: -1"):
        data.train_batches(tiny(), 4, seed=-1)
    with pytest.raises(ValueError, match="start_step: -1"):
        data.train_batches(tiny(), 4, start_step=-1)
    with pytest.raises(TypeError, match="endless"):
        len(data.train_batches(tiny(), 4))
