import gc
import json
import logging
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from n2uq_jax.training import sharding
from n2uq_jax.workdir import checkpoints as module
from n2uq_jax.workdir.checkpoints import (
    CheckpointError,
    Checkpoints,
    read_checkpoint,
    saved_steps,
)


def items(value):
    return {
        "model": {"a": jnp.full((8, 4), value, jnp.float32), "b": {"c": jnp.arange(3)}},
        "optimizer": [jnp.asarray(value, jnp.float32)],
    }


# Orbax drops the reads of other arrays when one fails, and they complain when they are collected.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def collected():
    """Collects what a test leaves behind before another file's tests have to hear of it."""
    yield
    gc.collect()


def save(checkpoints, step, top1=None):
    metrics = None if top1 is None else {"top1": top1}
    checkpoints.save(step, items(float(step)), {"step": step, "name": "digits"}, metrics)
    checkpoints.wait()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with the newest two of five checkpoints, and the best."""
    checkpoints = Checkpoints(tmp_path_factory.mktemp("saved") / "c", keep=2)
    for step, top1 in ((1, 0.5), (2, 0.9), (3, 0.7), (4, None), (5, 0.6)):
        save(checkpoints, step, top1)
    checkpoints.close()
    return checkpoints.directory


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "c")


def spoil(folder, step):
    """Truncates every data file of a checkpoint."""
    files = [p for p in (folder / str(step)).rglob("*") if p.is_file() and "/d/" in str(p)]
    assert files
    for file in files:
        file.write_bytes(file.read_bytes()[:7])


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_newest_and_the_best_are_kept(saved):
    assert saved_steps(saved) == [2, 4, 5]
    assert read_checkpoint(saved, items(0.0)).step == 5
    assert read_checkpoint(saved, items(0.0), best=True).step == 2
    assert read_checkpoint(saved / "none", items(0.0)) is None


def test_a_round_trip_keeps_every_bit(saved):
    for step, restored, data in (
        read_checkpoint(saved, items(0.0)),
        Checkpoints(saved).restore(items(0.0)),
    ):
        assert step == 5
        assert data == {"step": 5, "name": "digits"}
        assert jax.tree.structure(restored) == jax.tree.structure(items(0.0))
        jax.tree.map(np.testing.assert_array_equal, restored, items(5.0))


def test_one_item_can_be_read_alone(saved):
    _, restored, _ = read_checkpoint(saved, {"model": items(0.0)["model"]})
    assert list(restored) == ["model"]
    np.testing.assert_array_equal(restored["model"]["a"], np.full((8, 4), 5.0))


def test_a_damaged_newest_checkpoint_is_moved_aside_and_the_one_before_it_read(folder, caplog):
    spoil(folder, 5)
    damaged = contents(folder / "5")
    with caplog.at_level(logging.WARNING):
        step, restored, _ = Checkpoints(folder).restore(items(0.0))
    assert step == 4
    np.testing.assert_array_equal(restored["model"]["a"], np.full((8, 4), 4.0))
    assert "THE CHECKPOINT OF STEP 5 IS DAMAGED" in caplog.text
    assert saved_steps(folder) == [2, 4]
    aside = folder.with_name("c.damaged")
    assert contents(aside / "5") == damaged

    save(again := Checkpoints(folder), 5)
    again.close()
    spoil(folder, 5)
    assert Checkpoints(folder).restore(items(0.0)).step == 4
    assert sorted(p.name for p in aside.iterdir()) == ["5", "5.1"]


def test_whoever_only_reads_leaves_damage_where_it_is(folder):
    (folder / "5" / "data" / "metadata").write_text("{torn")
    before = contents(folder.parent)
    assert read_checkpoint(folder, items(0.0)).step == 4
    assert contents(folder.parent) == before


@pytest.mark.parametrize("path", ["data/metadata", "metrics/metrics", "model/_METADATA"])
def test_torn_text_is_damage(folder, path):
    file = folder / "5" / path
    file.write_text(file.read_text()[:-5])
    checkpoints = Checkpoints(folder)
    assert checkpoints.restore(items(0.0)).step == 4
    save(checkpoints, 6, top1=0.1)
    checkpoints.close()
    assert saved_steps(folder) == [2, 4, 6]


def test_a_missing_item_is_damage(folder):
    shutil.rmtree(folder / "5" / "optimizer")
    assert Checkpoints(folder).restore(items(0.0)).step == 4


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(13, "Permission denied"),
        MemoryError(),
        OSError(5, "Input/output error"),
        ValueError("RESOURCE_EXHAUSTED: too many open files"),
    ],
)
def test_what_is_no_damage_is_raised_and_moves_nothing(folder, monkeypatch, error):
    before = contents(folder.parent)

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(module.ocp.Checkpointer, "restore", fail)
    with pytest.raises(type(error)):
        Checkpoints(folder).restore(items(0.0))
    with pytest.raises(type(error)):
        read_checkpoint(folder, items(0.0))
    assert contents(folder.parent) == before


def test_another_network_is_no_damage(folder):
    before = contents(folder.parent)
    other = {"model": {"a": jnp.zeros((3, 3)), "b": {"c": jnp.arange(3)}}}
    with pytest.raises(ValueError, match=r"shape"):
        Checkpoints(folder).restore(other)
    with pytest.raises(ValueError, match=r"new"):
        Checkpoints(folder).restore({"model": {**items(0.0)["model"], "new": jnp.zeros(2)}})
    assert contents(folder.parent) == before


def test_all_processes_take_the_decision_of_the_one_that_saw_damage(folder, monkeypatch):
    votes = []

    def another_process_sees_damage_in_step_5(mine):
        votes.append(mine)
        return 1 if len(votes) == 1 else mine

    monkeypatch.setattr(module.processes, "largest_of_all", another_process_sees_damage_in_step_5)
    assert Checkpoints(folder).restore(items(0.0)).step == 4
    assert votes[:2] == [0, 0]
    assert saved_steps(folder) == [2, 4]


def test_an_error_of_another_process_ends_this_one_and_moves_nothing(folder, monkeypatch):
    monkeypatch.setattr(module.processes, "largest_of_all", lambda mine: 2)
    with pytest.raises(CheckpointError, match=r"c/5: another process could not read it"):
        Checkpoints(folder).restore(items(0.0))
    assert saved_steps(folder) == [2, 4, 5]


def test_damage_everywhere_is_an_error_that_lists_it_and_moves_nothing(folder):
    for step in (2, 4, 5):
        (folder / str(step) / "data" / "metadata").write_text("")
    with pytest.raises(CheckpointError, match=r"all 3 .* step 5: .* step 4: .* step 2: "):
        Checkpoints(folder).restore(items(0.0))
    assert saved_steps(folder) == [2, 4, 5]


def test_a_torn_write_is_no_checkpoint(folder):
    (folder / "6.orbax-checkpoint-tmp").mkdir()
    assert saved_steps(folder) == [2, 4, 5]
    assert Checkpoints(folder).restore(items(0.0)).step == 5


def test_a_full_disk_is_named_and_leaves_what_is_saved(folder, monkeypatch):
    checkpoints = Checkpoints(folder, keep=2)
    usage = shutil.disk_usage(folder)
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
        with pytest.raises(OSError, match="No space left on device") as refused:
            save(checkpoints, 6)
    assert refused.value.filename == str(folder)
    assert saved_steps(folder)[-1] == 5
    save(checkpoints, 6)  # once there is room
    checkpoints.close()
    assert saved_steps(folder)[-1] == 6


def test_saving_never_asks_for_a_preemption(tmp_path, monkeypatch):
    """JAX wants the steps of that question to grow over a whole run, and stages start anew."""
    from jax.experimental import multihost_utils

    asked = []
    monkeypatch.setattr(multihost_utils, "reached_preemption_sync_point", asked.append)
    checkpoints = Checkpoints(tmp_path / "c")
    save(checkpoints, 1)
    checkpoints.close()
    assert saved_steps(tmp_path / "c") == [1]
    assert asked == []


def test_arrays_come_back_on_other_devices(saved):
    spread = NamedSharding(sharding.make_mesh(fsdp=4), P("fsdp"))
    like = {"model": {"a": jax.device_put(jnp.zeros((8, 4)), spread)}}
    like["model"]["b"] = items(0.0)["model"]["b"]
    _, restored, _ = Checkpoints(saved).restore(like)
    assert restored["model"]["a"].sharding == spread
    np.testing.assert_array_equal(restored["model"]["a"], np.full((8, 4), 5.0))


def test_arrays_go_to_one_device_where_none_is_named(tmp_path):
    spread = NamedSharding(sharding.make_mesh(fsdp=4), P("fsdp"))
    checkpoints = Checkpoints(tmp_path / "c")
    state = {"a": jax.device_put(jnp.arange(32.0).reshape(8, 4), spread), "b": jnp.zeros(3)}
    checkpoints.save(9, {"model": state}, {})
    checkpoints.close()
    _, restored, _ = Checkpoints(tmp_path / "c").restore({"model": jax.eval_shape(lambda: state)})
    assert restored["model"]["a"].devices() == {jax.devices()[0]}
    np.testing.assert_array_equal(restored["model"]["a"], np.arange(32.0).reshape(8, 4))


def test_the_metrics_of_a_checkpoint_are_the_evaluations(saved):
    assert json.loads((saved / "2" / "metrics" / "metrics").read_text()) == {"top1": 0.9}
