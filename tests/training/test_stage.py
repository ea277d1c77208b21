import types

import pytest

from n2uq_jax import data
from n2uq_jax.training.config import default_config
from n2uq_jax.training.stage import Stage


@pytest.fixture
def stage():
    config = default_config()
    nothing = types.SimpleNamespace()
    return Stage("float", config, data.load("digits"), *(nothing,) * 5)


@pytest.mark.parametrize(
    ("epochs", "steps"), [(30.0, 330), (1.8, 20), (0.5, 6), (0.0, 0), (2.4, 26)]
)
def test_steps_of_a_stage(stage, epochs, steps):
    stage.config.float.epochs = epochs
    assert (stage.steps_per_epoch, stage.total_steps) == (11, steps)


def test_pixels_are_of_the_dtype_of_the_computation(stage):
    assert stage.settings is stage.config.float
    assert stage.pixels == (stage.dataset.mean, stage.dataset.std, "float32")
    stage.config.model.dtype = "bfloat16"
    assert stage.pixels.dtype == "bfloat16"
    stage.config.x64 = True
    assert stage.pixels.dtype == "float64"
