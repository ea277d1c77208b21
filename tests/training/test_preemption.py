import os
import signal

import jax
import pytest
from jax.experimental import multihost_utils

from n2uq_jax.training.preemption import Preemption


@pytest.fixture
def before():
    """A handler of somebody else, which notes the signals that reach it."""
    received = []
    previous = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    yield received
    signal.signal(signal.SIGTERM, previous)


def test_a_signal_is_kept_until_the_end_and_the_old_handler_comes_back(before):
    with Preemption() as preemption:
        assert not preemption.reached()
        os.kill(os.getpid(), signal.SIGTERM)
        assert preemption.reached()
        assert preemption.reached()  # a stage later, too
        assert before == []
    os.kill(os.getpid(), signal.SIGTERM)
    assert before == [signal.SIGTERM]


def test_several_processes_ask_jax_with_a_number_that_only_grows(before, monkeypatch):
    asked = []

    def reached(step):
        asked.append(step)
        return step == 4

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(multihost_utils, "reached_preemption_sync_point", reached)
    with Preemption() as preemption:
        assert [preemption.reached() for _stage in range(2) for _step in range(2)] == [
            *(False, False, False),
            True,
        ]
        os.kill(os.getpid(), signal.SIGTERM)  # JAX's watcher takes it, not ours
    assert asked == [1, 2, 3, 4]
    assert before == [signal.SIGTERM]
