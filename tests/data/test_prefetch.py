import threading
import time
import weakref

import jax
import numpy as np
import pytest

from n2uq_jax import data


class Counter:
    """Counts up; its state is the next number."""

    def __init__(self, stop=None, fail_at=None):
        self.next, self.stop, self.fail_at, self.closed = 0, stop, fail_at, False

    def __iter__(self):
        return self

    def __next__(self):
        if self.next == self.stop:
            raise StopIteration
        if self.next == self.fail_at:
            raise OSError("disk on fire")
        self.next += 1
        return self.next - 1

    def get_state(self):
        return {"next": self.next}

    def set_state(self, state):
        self.next = state["next"]

    def close(self):
        self.closed = True


class Batch(np.ndarray):
    """An array that can be referred to weakly and hashed."""

    __hash__ = object.__hash__


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_all_batches_in_order_then_stop():
    prefetch = data.Prefetch(Counter(stop=20), put=lambda n: n * 10, depth=3)
    assert list(prefetch) == [n * 10 for n in range(20)]
    with pytest.raises(StopIteration):
        next(prefetch)


def test_reads_ahead_by_depth_while_nobody_asks():
    counter = Counter()
    with data.Prefetch(counter, put=lambda n: n, depth=3) as prefetch:
        next(prefetch)
        wait_until(lambda: counter.next == 5)  # one handed out, three waiting, one in hand
        time.sleep(0.3)
        assert counter.next == 5


def test_state_is_that_of_the_last_batch_handed_out():
    counter = Counter()
    with data.Prefetch(counter, put=lambda n: n, depth=3) as prefetch:
        assert prefetch.get_state() == {"next": 0}
        assert [next(prefetch) for _ in range(4)] == [0, 1, 2, 3]
        wait_until(lambda: counter.next == 8)
        state = prefetch.get_state()
        assert state == {"next": 4}
        assert next(prefetch) == 4
        prefetch.set_state(state)
        assert prefetch.get_state() == {"next": 4}
        assert [next(prefetch) for _ in range(3)] == [4, 5, 6]


@pytest.mark.parametrize("where", ["read", "put"])
def test_exception_arrives_after_the_batches_before_it(where):
    def put(n):
        if where == "put" and n == 2:
            raise OSError("disk on fire")
        return n

    prefetch = data.Prefetch(Counter(fail_at=2 if where == "read" else None), put)
    assert [next(prefetch), next(prefetch)] == [0, 1]
    for _ in range(2):
        with pytest.raises(OSError, match="disk on fire"):
            next(prefetch)


def test_close_ends_thread_and_source():
    counter, before = Counter(), threading.active_count()
    prefetch = data.Prefetch(counter, put=lambda n: n)
    next(prefetch)
    assert threading.active_count() == before + 1
    prefetch.close()
    prefetch.close()
    assert threading.active_count() == before
    assert counter.closed
    with pytest.raises(StopIteration):
        next(prefetch)


def test_iterator_without_state():
    prefetch = data.Prefetch(iter([1, 2]), put=lambda n: n)
    assert next(prefetch) == 1
    with pytest.raises(TypeError, match="has no get_state"):
        prefetch.get_state()
    prefetch.close()


def test_depth_is_checked():
    with pytest.raises(ValueError, match="depth: 0, expected at least 1"):
        data.Prefetch(iter([]), put=lambda n: n, depth=0)


def test_training_batches_on_sharded_devices():
    digits = data.load("digits")
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.NamedSharding(mesh, jax.P("data"))

    def put(batch):
        return {
            key: jax.make_array_from_process_local_data(sharding, value)
            for key, value in batch.items()
        }

    expected = data.train_batches(digits, 16, seed=3)
    with data.Prefetch(data.train_batches(digits, 16, seed=3), put) as prefetch:
        for _ in range(3):
            batch, plain = next(prefetch), next(expected)
            assert batch["image"].sharding == sharding
            assert batch["image"].dtype == np.uint8
            for key in ("image", "label"):
                np.testing.assert_array_equal(batch[key], plain[key])
        assert prefetch.get_state()["step"] == 3


@pytest.mark.parametrize("stop", [3, None])
def test_no_batch_is_kept_after_the_end(stop):
    alive = weakref.WeakSet()

    def put(number):
        batch = np.full(3, number).view(Batch)
        alive.add(batch)
        return batch

    prefetch = data.Prefetch(Counter(stop=stop), put=put)
    for _ in range(3):
        next(prefetch)
    if stop:
        with pytest.raises(StopIteration):
            next(prefetch)
    prefetch.close()
    assert not alive
