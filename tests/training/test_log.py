import types

import jax.numpy as jnp
import pytest
from rich.console import Console

from n2uq_jax.training.config import stage_config
from n2uq_jax.training.log import NonFiniteLossError, StageLog, progress_bar


class Written(list):
    board = "board"

    def write(self, stage, kind, step, values):
        self.append((stage, kind, step, dict(values)))


@pytest.fixture
def stage():
    """As much of a float stage as its log reads."""
    return types.SimpleNamespace(
        name="float",
        settings=stage_config(quantized=False),
        config=types.SimpleNamespace(batch_size=8, profile_steps=None),
        steps_per_epoch=4,
        total_steps=12,
        pixels=None,
        writer=Written(),
        progress=progress_bar(Console(quiet=True)),
    )


def measured(loss):
    return {"loss": jnp.float32(loss), "top1": jnp.float32(0.5)}


def test_a_line_has_the_means_since_the_last_one(stage):
    log = StageLog(stage, None, schedule=lambda step: 0.1 * step)
    for step, loss in ((1, 2.0), (2, 4.0)):
        log.add(step, measured(loss), waited=0.0)
    log.write(2, None, None)
    log.add(3, measured(1.0), waited=0.0)
    log.write(3, None, None)
    log.write_evaluation(4, {"top1": 0.75})
    (first, second, evaluation) = stage.writer
    assert first[:3] == ("float", "train", 2)
    values = first[3]
    assert (values["loss"], values["top1"], values["epoch"]) == (3.0, 0.5, 0.5)
    assert values["learning_rate"] == pytest.approx(0.1)  # of the step that was taken
    assert values["quantizer_learning_rate"] == pytest.approx(0.01)
    assert values["images_per_second"] == pytest.approx(8 / values["step_seconds"])
    assert second[3]["loss"] == 1.0
    assert evaluation == ("float", "eval", 4, {"epoch": 1.0, "top1": 0.75})
    assert stage.progress.tasks[0].completed == 3


def test_compilation_is_told_with_its_time(stage, caplog, monkeypatch):
    caplog.set_level("INFO")
    log = StageLog(stage, None, schedule=lambda step: 0.1)
    log.compiling()
    assert stage.progress.tasks[0].fields["status"] == "compiling the training step"
    log.compiled()
    assert stage.progress.tasks[0].fields["status"] == "compiled in 0 s"
    assert caplog.text == ""
    monkeypatch.setattr("n2uq_jax.training.log.PATIENCE", -1.0)
    log.compiled()
    assert "stage float: the first step took 0 s to compile" in caplog.text


def test_nothing_new_writes_nothing(stage):
    StageLog(stage, None, schedule=lambda step: 0.1).write(1, None, None)
    assert stage.writer == []


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_the_step_whose_loss_is_not_finite_is_named(stage, loss):
    log = StageLog(stage, None, schedule=lambda step: 0.1)
    for step, value in ((1, 2.0), (2, loss), (3, 1.0)):
        log.add(step, measured(value), waited=0.0)
    with pytest.raises(NonFiniteLossError, match=f"stage 'float' is {loss} at step 2"):
        log.write(3, None, None)
    assert stage.writer == []


def test_other_processes_than_the_first_write_nothing(stage):
    stage.writer = None
    log = StageLog(stage, None, schedule=lambda step: 0.1)
    log.add(1, measured(2.0), waited=0.0)
    log.write(1, None, None)
    log.write_evaluation(1, {"top1": 0.5})
    log.profile().before(1)
