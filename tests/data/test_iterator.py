import itertools

import numpy as np
import pytest

from n2uq_jax.data.iterator import BatchIterator


class Reader:
    """Endless batches that hold their own number; notes its starts and its ends."""

    def __init__(self, bad=()):
        self.starts, self.closed, self.bad = [], 0, dict(bad)

    def __call__(self, step):
        self.starts.append(step)
        try:
            for number in itertools.count(step):
                yield {"index": np.array([number]), "bad_records": self.bad.get(number, ())}
        finally:
            self.closed += 1


def make(reader, max_bad_records=0, **options):
    return BatchIterator(reader, {"dataset": "tiny", "seed": 0}, max_bad_records, **options)


def numbers(iterator, count):
    return [int(next(iterator)["index"][0]) for _ in range(count)]


def test_a_step_is_the_whole_state():
    reader = Reader()
    iterator = make(reader)
    assert reader.starts == []  # nothing starts before the first batch
    assert numbers(iterator, 3) == [0, 1, 2]
    state = iterator.get_state()
    assert state == {"step": 3, "dataset": "tiny", "seed": 0}
    assert numbers(iterator, 2) == [3, 4]
    iterator.set_state(state)
    assert reader.closed == 1
    assert numbers(iterator, 2) == [3, 4]
    other = make(Reader())
    other.set_state(state)
    assert numbers(other, 1) == [3]


@pytest.mark.parametrize(
    "state", [{"step": 1, "dataset": "tiny", "seed": 1}, {"dataset": "tiny", "seed": 0}, {}]
)
def test_the_state_of_another_run_is_refused_and_changes_nothing(state):
    iterator = make(Reader())
    numbers(iterator, 2)
    with pytest.raises(ValueError, match="expected a step and"):
        iterator.set_state(state)
    assert numbers(iterator, 1) == [2]


def test_closing_ends_the_reader_and_the_next_batch_starts_another():
    reader = Reader()
    with make(reader) as iterator:
        numbers(iterator, 2)
    assert reader.closed == 1
    assert numbers(iterator, 1) == [2]
    assert reader.starts == [0, 2]


def test_distinct_corrupt_records_are_counted_up_to_a_limit(caplog):
    bad = {0: ("a",), 1: ("a", "b"), 2: ("c",)}
    iterator = make(Reader(bad), max_bad_records=2)
    numbers(iterator, 2)
    assert iterator.bad_records == ("a", "b")
    assert [r.getMessage()[-1] for r in caplog.records] == ["a", "b"]
    with pytest.raises(RuntimeError, match="3 corrupt records, more than max_bad_records=2: a; b"):
        next(iterator)


def test_arrays_are_copied_unless_it_is_said_otherwise():
    class Shared(np.ndarray):
        pass

    def reader(step):
        yield {"index": np.arange(3).view(Shared), "bad_records": ()}

    assert type(next(make(reader))["index"]) is np.ndarray
    assert type(next(make(reader, copy=False))["index"]) is Shared


def test_length_and_limits():
    assert len(make(Reader(), length=7)) == 7
    with pytest.raises(TypeError, match="endless"):
        len(make(Reader()))
    with pytest.raises(ValueError, match="start_step: -1"):
        make(Reader(), step=-1)
    with pytest.raises(ValueError, match="max_bad_records: -1"):
        make(Reader(), max_bad_records=-1)
