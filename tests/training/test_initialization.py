import numpy as np
import pytest

from n2uq_jax import data
from n2uq_jax.training.config import default_config, stage_config
from n2uq_jax.training.initialization import initialize, load_teacher, range_images
from n2uq_jax.workdir.model import make_model
from tests.models.tiny import Tiny, arrays


def test_where_parameters_come_from(tmp_path):
    source, target = Tiny(0, quantized=False), Tiny(1, quantized=False)
    before = arrays(target)
    assert not initialize(target, None, {"float": source})
    assert all(np.array_equal(value, before[name]) for name, value in arrays(target).items())
    assert not initialize(target, "float", {"float": source})  # it has no quantizers
    np.testing.assert_array_equal(target.linear.kernel[...], source.linear.kernel[...])
    with pytest.raises(FileNotFoundError, match=r"init must be an earlier stage \(float\)"):
        initialize(target, str(tmp_path / "nothing"), {"float": source})


def test_the_teacher_is_an_earlier_stage_or_nobody():
    config, digits = default_config(), data.load("digits")
    trained = {"float": Tiny(0, quantized=False)}
    trained["float"].train()
    assert load_teacher(stage_config(quantized=True), trained, digits, config) is None
    stage = stage_config(quantized=True, teacher="float")
    assert load_teacher(stage, trained, digits, config) is trained["float"]
    assert trained["float"].norm.use_running_average
    stage = stage_config(quantized=True, teacher="torchvision/resnet18")
    with pytest.raises(ValueError, match="teacher_weights for 'torchvision/resnet18' must be"):
        load_teacher(stage, trained, digits, config)


def test_an_integer_only_network_starts_from_the_paper_form_and_sees_images(tmp_path):
    config, digits = default_config(), data.load("digits")
    config.batch_size = 16
    about = {
        "image_shape": digits.image_shape,
        "num_classes": digits.num_classes,
        "mean": digits.mean,
        "std": digits.std,
    }
    config.model.width = 4
    config.integer = stage_config(quantized=True, integer_only=True)
    paper, integer, again = (
        make_model(config.to_dict() | {"seed": seed}, about, stage)
        for seed, stage in enumerate(("quantized", "integer", "integer"))
    )
    images = range_images(digits, config)
    assert len(images) == 4
    assert images[0].dtype == np.uint8
    np.testing.assert_array_equal(images[0], range_images(digits, config)[0])
    initialize(integer, "quantized", {"quantized": paper}, lambda: images)
    np.testing.assert_array_equal(integer.head.kernel[...], paper.head.kernel[...])
    assert float(integer.grid.step[...]) != float(again.grid.step[...])
    # From its own form everything is copied, and no images are needed.
    assert initialize(again, "integer", {"integer": integer})
    for name, value in arrays(integer).items():
        np.testing.assert_array_equal(arrays(again)[name], value, err_msg=name)
