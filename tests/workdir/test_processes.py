import jax
import pytest

from n2uq_jax.workdir import processes


@pytest.fixture
def second_of_two(monkeypatch):
    """Stands for process 1 of 2; returns what the others' answers are and what it waited for."""
    waited, others = [], {"largest": 0}
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(processes, "wait_for_all", waited.append)
    monkeypatch.setattr(processes, "largest_of_all", lambda mine: max(mine, others["largest"]))
    return waited, others


def test_a_single_process_is_the_first_and_waits_for_nobody():
    assert processes.is_first()
    processes.wait_for_all("nobody")
    assert processes.integers_of_first([3, 1]) == [3, 1]
    assert processes.largest_of_all(2) == 2
    assert processes.first_alone("work", lambda: "done") == "done"
    with pytest.raises(ZeroDivisionError):
        processes.first_alone("work", lambda: 1 / 0)


def test_the_others_wait_and_do_nothing(second_of_two):
    waited, _ = second_of_two
    done = []
    assert processes.first_alone("work", lambda: done.append(1)) is None
    assert (waited, done) == (["work"], [])


def test_the_others_fail_with_the_first(second_of_two):
    waited, others = second_of_two
    others["largest"] = 1
    with pytest.raises(RuntimeError, match="export: the first process failed"):
        processes.first_alone("export", lambda: None)
    assert waited == ["export"]


def test_the_first_lets_the_others_go_before_it_fails(monkeypatch):
    order = []
    monkeypatch.setattr(processes, "wait_for_all", lambda name: order.append(("waits", name)))
    monkeypatch.setattr(processes, "largest_of_all", lambda mine: order.append(mine) or mine)
    with pytest.raises(KeyError):
        processes.first_alone("work", lambda: {}["missing"])
    assert order == [("waits", "work"), 1]


def test_barriers_have_names_of_their_own(monkeypatch):
    keys = []
    monkeypatch.setattr(
        processes.ocp.multihost,
        "get_barrier_sync_fn",
        lambda: lambda key, timeout_ms: keys.append((key, timeout_ms)),
    )
    processes.wait_for_all("a")
    processes.wait_for_all("a")
    assert len({key for key, _ in keys}) == 2
    # Long enough for the export of a large network while the others wait.
    assert all(timeout >= 3_600_000 for _, timeout in keys)
