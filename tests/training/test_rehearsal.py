import dataclasses

import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

from n2uq_jax import data, models
from n2uq_jax.interop import torchvision
from n2uq_jax.models.resnet import ResNet
from n2uq_jax.training import sharding
from n2uq_jax.training.config import default_config
from n2uq_jax.training.rehearsal import rehearse


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def config(**changes):
    made = default_config()
    made.update_from_flattened_dict({"model.width": 4, "stages": ("float", "quantized"), **changes})
    return made


def rehearsed(digits, trace_steps=False, **changes):
    return rehearse(config(**changes), digits, sharding.make_mesh(), trace_steps=trace_steps)


def test_stages_are_built_and_counted_without_an_array(digits):
    float_stage, quantized = rehearsed(digits, **{"quantized.epochs": 2.0})
    assert (float_stage.steps, quantized.steps) == (330, 22)
    assert float_stage.memory is None
    assert isinstance(quantized.model, ResNet)
    leaves = jax.tree.leaves(nnx.state(quantized.model))
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves)


def test_a_step_is_traced_and_its_memory_estimated(digits):
    (stage,) = rehearsed(digits, trace_steps=True, stages=("float",))
    values = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(stage.model, nnx.Param)))
    assert stage.memory.gradients == 4 * values
    assert stage.memory.state > 3 * 4 * values  # the parameters, and Adam's two moments
    assert stage.memory.activations > 0
    assert stage.memory.teacher == 0


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"quantized.init": "flaot"}, FileNotFoundError, "quantized.init .*; did you mean float"),
        ({"quantized.teacher": "nope"}, FileNotFoundError, "quantized.teacher must be an earlier"),
        (
            {"quantized.teacher": "torchvision/resnet18"},
            ValueError,
            "quantized.teacher_weights for .* must be a file",
        ),
    ],
)
def test_a_mistake_in_the_last_stage_is_found(digits, change, error, message):
    with pytest.raises(error, match=message):
        rehearsed(digits, **change)


def test_weights_are_compared_with_the_network(digits, tmp_path):
    path = tmp_path / "weights.safetensors"
    change = {"stages": ("float",), "float.init": str(path)}
    model = rehearsed(digits, stages=("float",))[0].model
    tensors = {
        tensor.name: np.zeros(tensor.shape, np.int64 if tensor.integer else np.float32)
        for tensor in torchvision._entries(model)
    }
    safetensors.numpy.save_file(tensors, path)
    rehearsed(digits, **change)
    tensors["fc.bias"] = np.zeros(9, np.float32)
    safetensors.numpy.save_file(tensors, path)
    with pytest.raises(ValueError, match=r"float.init=.*weights.safetensors: state does not fit"):
        rehearsed(digits, **change)


def test_a_teacher_of_other_classes_is_refused(digits, monkeypatch):
    monkeypatch.setattr("n2uq_jax.training.rehearsal._check_weights", lambda *_: None)
    twelve = dataclasses.replace(digits, num_classes=12)
    monkeypatch.setattr(
        "n2uq_jax.training.rehearsal.make_teacher",
        lambda *_: models.create("resnet8", num_classes=10, in_features=1, rngs=nnx.Rngs(0)),
    )
    change = {"float.teacher": "resnet8", "float.teacher_weights": "w", "stages": ("float",)}
    with pytest.raises(ValueError, match=r"float.teacher must have a logit for each of the 12"):
        rehearsed(twelve, **change)


def test_images_that_the_network_does_not_take_are_refused(digits):
    colored = dataclasses.replace(digits, image_shape=(8, 8, 3), mean=(0.5,) * 3, std=(0.5,) * 3)
    assert rehearsed(colored)[0].model.conv.in_features == 3
    broken = dataclasses.replace(digits, image_shape=(8, 8, 1), mean=(0.5,) * 3, std=(0.5,) * 3)
    with pytest.raises(ValueError, match=r"stage float does not take images of shape \(8, 8, 1\)"):
        rehearsed(broken)
