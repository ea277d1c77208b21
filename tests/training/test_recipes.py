"""The configs of the paper's table."""

from pathlib import Path

import pytest

from n2uq_jax.training.checks import check_config
from n2uq_jax.training.config_file import load_config
from n2uq_jax.training.recipes import imagenet

CONFIGS = Path(__file__).parents[2] / "configs"
RESNETS = ["resnet18", "resnet34", "resnet50"]
ROWS = {
    **{f"{name}_w{b}a{b}": (name, b, True) for name in RESNETS for b in (2, 3, 4)},
    **{f"{name}_w{b}a{b}_float_shortcuts": (name, b, False) for name in RESNETS for b in (2, 3, 4)},
    **{f"mobilenet_v2_w{b}a{b}": ("mobilenet_v2", b, True) for b in (2, 3, 4)},
}


@pytest.mark.parametrize("row", ROWS)
def test_every_row_of_the_paper_has_its_config(row):
    name, bits, quantize_downsample = ROWS[row]
    path = CONFIGS / f"{row}.py"
    config = load_config(str(path))
    check_config(config)
    expected = imagenet(name, bits, quantize_downsample=quantize_downsample)
    assert config.to_json() == expected.to_json()
    text = path.read_text()
    assert f"--config configs/{row}.py --config.data.dir=DIR\n" in text
    assert "here: not measured yet" in text


def test_recipe_is_the_papers():
    config = imagenet("resnet18", 2)
    assert (config.batch_size, config.data.image_size, config.data.flip) == (512, 224, True)
    stage = config.quantized
    assert (stage.epochs, stage.learning_rate, stage.quantizer_lr_factor) == (128, 2.5e-3, 0.1)
    assert (stage.schedule, stage.weight_decay) == ("linear_per_epoch", 0)
    assert (stage.teacher, stage.label_weight, stage.temperature) == ("torchvision/resnet101", 0, 1)


def test_starting_points():
    quantized, floats = imagenet("resnet34", 3), imagenet("resnet34", 3, quantize_downsample=False)
    weights = "hf://timm/resnet34.tv_in1k"
    assert (quantized.stages, floats.stages) == (("float", "quantized"), ("quantized",))
    assert (quantized.float.init, quantized.quantized.init) == (weights, "float")
    assert floats.quantized.init == weights
    assert imagenet("mobilenet_v2", 4).float.init is None
