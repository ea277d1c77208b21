import os
import signal

import jax
import pytest
from jax.experimental import multihost_utils

from n2uq_jax.training.preemption import Preempted, Preemption


@pytest.fixture
def before():
    """Handlers of somebody else, which note the signals that reach them."""
    received = []
    numbers = (signal.SIGTERM, signal.SIGINT)
    previous = {n: signal.signal(n, lambda number, frame: received.append(number)) for n in numbers}
    yield received
    for number, handler in previous.items():
        signal.signal(number, handler)


def test_a_signal_is_kept_until_the_end_and_the_old_handler_comes_back(before):
    with Preemption() as preemption:
        assert not preemption.reached()
        os.kill(os.getpid(), signal.SIGTERM)
        assert preemption.reached()
        assert preemption.reached()  # a stage later, too
        assert before == []
    os.kill(os.getpid(), signal.SIGTERM)
    assert before == [signal.SIGTERM]


def test_ctrl_c_is_kept_as_well_and_named_and_once_more_ends_at_once(before, capfd, monkeypatch):
    with Preemption() as preemption:
        assert not preemption.reached()
        os.kill(os.getpid(), signal.SIGINT)
        assert preemption.reached()
        assert preemption.cause == "Ctrl-C"
        assert "Once more ends at once" in capfd.readouterr().err
        sent = []
        monkeypatch.setattr(os, "kill", lambda pid, number: sent.append(number))
        signal.raise_signal(signal.SIGINT)
        assert sent == [signal.SIGINT]
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL  # nothing catches that one
    monkeypatch.undo()
    os.kill(os.getpid(), signal.SIGINT)
    assert before == [signal.SIGINT]


def test_ctrl_c_with_nothing_to_save_is_an_interrupt(before):
    with Preemption() as preemption:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        preemption.reached()
        preemption.saved()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_on_one_of_several_processes_becomes_jax_signal(before, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(multihost_utils, "reached_preemption_sync_point", lambda step: False)
    with Preemption() as preemption:
        assert not preemption.reached()
        signal.raise_signal(signal.SIGINT)
        assert before == [signal.SIGTERM]


def test_a_process_that_is_deaf_to_ctrl_c_stays_so(before):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Preemption() as preemption:
        assert not preemption.reached()
        signal.raise_signal(signal.SIGINT)
        assert not preemption.reached()


def test_what_is_said_of_a_stop():
    assert str(Preempted("Ctrl-C", "stage float, step 3")) == (
        "Stopped by Ctrl-C after saving stage float, step 3."
    )


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
