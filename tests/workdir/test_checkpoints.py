import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from n2uq_jax.training import sharding
from n2uq_jax.workdir.checkpoints import CheckpointError, Checkpoints


def items(value):
    return {
        "model": {"a": jnp.full((8, 4), value, jnp.float32), "b": {"c": jnp.arange(3)}},
        "optimizer": [jnp.asarray(value, jnp.float32)],
    }


# Orbax drops the reads of other arrays when one fails, and they may complain afterwards.
abandons_reads = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def checkpoints(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c", keep=2)
    yield checkpoints
    checkpoints.close()


def save(checkpoints, step, top1=None):
    metrics = None if top1 is None else {"top1": top1}
    checkpoints.save(step, items(float(step)), {"step": step, "name": "digits"}, metrics)
    checkpoints.wait()


def spoil(checkpoints, step):
    """Truncates every data file of a checkpoint."""
    folder = next(p for p in checkpoints.directory.iterdir() if p.name == str(step))
    files = [p for p in folder.rglob("*") if p.is_file() and "/d/" in str(p)]
    assert files
    for file in files:
        file.write_bytes(file.read_bytes()[:7])


def test_a_round_trip_keeps_every_bit(checkpoints):
    assert checkpoints.restore(items(0.0)) is None
    save(checkpoints, 3)
    step, restored, data = checkpoints.restore(items(0.0))
    assert step == 3
    assert data == {"step": 3, "name": "digits"}
    assert jax.tree.structure(restored) == jax.tree.structure(items(0.0))
    jax.tree.map(np.testing.assert_array_equal, restored, items(3.0))


def test_one_item_can_be_read_alone(checkpoints):
    save(checkpoints, 3)
    _, restored, _ = checkpoints.restore({"model": items(0.0)["model"]})
    assert list(restored) == ["model"]
    np.testing.assert_array_equal(restored["model"]["a"], np.full((8, 4), 3.0))


def test_the_newest_and_the_best_are_kept(checkpoints):
    for step, top1 in ((1, 0.5), (2, 0.9), (3, 0.7), (4, None), (5, 0.6)):
        save(checkpoints, step, top1)
    assert checkpoints.steps() == [2, 4, 5]
    assert checkpoints.restore(items(0.0))[0] == 5
    assert checkpoints.restore(items(0.0), best=True)[0] == 2


@abandons_reads
def test_a_damaged_newest_checkpoint_falls_back_with_a_warning(checkpoints, caplog):
    save(checkpoints, 1)
    save(checkpoints, 2)
    spoil(checkpoints, 2)
    with caplog.at_level(logging.WARNING):
        step, restored, _ = checkpoints.restore(items(0.0))
    assert step == 1
    np.testing.assert_array_equal(restored["model"]["a"], np.full((8, 4), 1.0))
    assert "THE CHECKPOINT OF STEP 2 CANNOT BE READ" in caplog.text
    checkpoints.discard_after(step)
    assert checkpoints.steps() == [1]


@abandons_reads
def test_damage_everywhere_is_an_error_that_lists_it(checkpoints):
    for step in (1, 2):
        save(checkpoints, step)
        spoil(checkpoints, step)
    with pytest.raises(CheckpointError, match=r"none of 2 checkpoints .* step 2: .* step 1: "):
        checkpoints.restore(items(0.0))


def test_a_torn_write_is_no_checkpoint(checkpoints, tmp_path):
    save(checkpoints, 1)
    (checkpoints.directory / "2.orbax-checkpoint-tmp").mkdir()
    again = Checkpoints(tmp_path / "c")
    assert again.steps() == [1]
    again.close()


def test_arrays_come_back_on_other_devices(checkpoints):
    save(checkpoints, 1)
    spread = NamedSharding(sharding.make_mesh(fsdp=4), P("fsdp"))
    like = {"model": {"a": jax.device_put(jnp.zeros((8, 4)), spread)}}
    like["model"]["b"] = items(0.0)["model"]["b"]
    _, restored, _ = checkpoints.restore(like)
    assert restored["model"]["a"].sharding == spread
    np.testing.assert_array_equal(restored["model"]["a"], np.full((8, 4), 1.0))
