import jax
import pytest

from n2uq_jax.training.profile import StepProfile


@pytest.fixture
def calls(monkeypatch):
    calls = []
    monkeypatch.setattr(jax.profiler, "start_trace", calls.append)
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: calls.append("stop"))
    return calls


def run(profile, first, last, calls):
    for step in range(first, last + 1):
        profile.before(step)
        calls.append(step)
        profile.after(step, jax.numpy.ones(()), last=step == last)


def test_from_the_first_step_to_the_last(calls, tmp_path):
    run(StepProfile((2, 3), tmp_path), 1, 5, calls)
    assert calls == [1, str(tmp_path), 2, 3, "stop", 4, 5]


def test_it_ends_with_the_stage(calls, tmp_path):
    run(StepProfile((2, 99), tmp_path), 1, 3, calls)
    assert calls == [1, str(tmp_path), 2, 3, "stop"]


@pytest.mark.parametrize("steps", [None, (2, 3), (9, 9)])
def test_none_is_started_late_or_without_being_asked_for(calls, tmp_path, steps):
    run(StepProfile(steps, tmp_path), 3, 5, calls)
    assert calls == [3, 4, 5]
