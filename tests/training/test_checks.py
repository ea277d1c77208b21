import dataclasses
from pathlib import Path

import numpy as np
import pytest

from n2uq_jax import data
from n2uq_jax.data.dataset import ArraySource
from n2uq_jax.training.checks import check_config, check_fit
from n2uq_jax.training.config import default_config
from n2uq_jax.training.config_file import load_config


def test_every_shipped_config_is_consistent():
    folder = Path(__file__).parents[2] / "configs"
    names = [p.stem for p in folder.glob("[a-z]*.py")]
    assert {"digits_w2a2", "fashion_mnist_w2a2"} <= set(names)
    for name in names:
        check_config(load_config(name))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("accumulate", 3, "must divide batch_size=128, got 3"),
        ("batch_size", 0, "must be at least 1, got 0"),
        ("batch_size", 1, "must be at least two images"),
        ("eval_batch_size", 0, "must be at least 1, got 0"),
        ("batch_norm", "local", "must be one of global, per_device; got 'local'"),
        ("seed", -1, "must be from 0 to"),
        ("model.name", "resnet9", "must be one of resnet18, .*; got 'resnet9'"),
        ("model.name", "torchvision/resnet18", "must be one of .*; got 'torchvision/resnet18'"),
        ("model.w_bits", 9, "must be from 1 to 8, got 9"),
        ("model.a_bits", 0, "must be from 1 to 8, got 0"),
        ("model.method", "lqs", "method must be one of n2uq, .*; got 'lqs'"),
        ("model.dtype", "int8", "must be one of float32, bfloat16; got 'int8'"),
        ("model.dtype", "float16", "must be one of float32, bfloat16; got 'float16'"),
        ("model.dtype", "flaot32", "must be one of float32, bfloat16; got 'flaot32'"),
        ("model.width", 0, "must be at least 1, got 0"),
        ("model.width", -4, "must be at least 1, got -4"),
        ("model.stem_stride", 0, "must be at least 1, got 0"),
        ("data.image_size", 0, "must be at least 1, got 0"),
        ("data.crop_padding", -5, "must be at least 0, got -5"),
        ("data.num_workers", -1, "must be at least 0, got -1"),
        ("data.prefetch", 0, "must be at least 1, got 0"),
        ("data.max_bad_records", -1, "must be at least 0, got -1"),
        ("mesh.data", -1, "must be at least 1, got -1"),
        ("mesh.fsdp", 0, "must be at least 1, got 0"),
        ("keep_checkpoints", -1, "must be at least 1, got -1"),
        ("checkpoint_every", 0, "must be at least 1, got 0"),
        ("log_every", 0, "must be at least 1, got 0"),
        ("eval_every", 0, "must be finite and above 0, got 0"),
        ("profile_steps", (3, 2), r"must be a first and a last step .* got \(3, 2\)"),
        ("profile_steps", (3,), r"must be a first and a last step .* got \(3,\)"),
        ("quantized.epochs", float("nan"), "must be finite and at least 0, got nan"),
        ("quantized.epochs", float("inf"), "must be finite and at least 0, got inf"),
        ("float.epochs", -1.0, "must be finite and at least 0, got -1.0"),
        ("float.learning_rate", float("nan"), "must be finite and at least 0, got nan"),
        ("float.quantizer_lr_factor", -0.1, "must be finite and at least 0, got -0.1"),
        ("float.weight_decay", -1e-4, "must be finite and at least 0"),
        ("float.schedule", "step", "must be one of linear, .*; got 'step'"),
        ("float.warmup_epochs", -1.0, "must be finite and at least 0, got -1"),
        ("float.warmup_epochs", 31.0, "must be at most the stage's 30 epochs, got 31"),
        ("quantized.label_weight", 2.0, r"must be finite and in 0\.\.1, got 2.0"),
        ("quantized.label_smoothing", -0.5, r"must be finite and in 0\.\.1, got -0.5"),
        ("quantized.temperature", 0.0, "must be finite and above 0, got 0.0"),
        ("quantized.temperature", -1.0, "must be finite and above 0, got -1.0"),
        ("stages", (), "must name at least one stage"),
        ("stages", ("float", "quantized", "float"), "must differ from each other"),
        ("stages", ("seed",), "config.seed is no stage"),
    ],
)
def test_a_wrong_field_is_named(field, value, message):
    config = default_config()
    config.update_from_flattened_dict({field: value})
    with pytest.raises(ValueError, match=message) as refused:
        check_config(config)
    assert str(refused.value).startswith((field, "stages names"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accumulate": 128}, "batch_size must be at least two .* got 128 with accumulate=128"),
        ({"stages": ("quantized", "float")}, "quantized.init must name an earlier stage"),
        ({"stages": ("float",), "export": True}, "export wants a quantized last stage"),
    ],
)
def test_fields_that_contradict_each_other_are_named(change, message):
    config = default_config()
    config.update_from_flattened_dict(change)
    with pytest.raises(ValueError, match=message):
        check_config(config)


@pytest.mark.parametrize(
    "change",
    [
        {"float.epochs": 0.0},
        {"float.epochs": 2.4, "float.schedule": "linear_per_epoch"},
        {"checkpoint_every": 1, "eval_every": 1, "profile_steps": (2, 2)},
        {"data.crop_padding": 0, "data.image_size": 8, "mesh.data": 8},
        {"quantized.label_smoothing": 0.1, "quantized.warmup_epochs": 30.0},
    ],
)
def test_limits_are_allowed(change):
    config = default_config()
    config.update_from_flattened_dict(change)
    check_config(config)


def test_a_batch_that_the_data_set_cannot_fill_is_refused():
    images = ArraySource("tiny", np.zeros((9, 2, 2, 1), np.uint8), np.zeros(9, np.int32))
    dataset = dataclasses.replace(data.load("digits"), name="tiny", train=images)
    config = default_config()
    config.batch_size = 9
    check_fit(config, dataset)
    config.batch_size = 10
    with pytest.raises(ValueError, match=r"batch_size must be at most the 9 .* 'tiny', got 10"):
        check_fit(config, dataset)
