import pytest

from n2uq_jax.cli.config import read_config

FIELDS = """
from n2uq_jax.training.config import default_config

def get_config():
    config = default_config()
    config.batch_size = 64
    return config
"""


def test_overrides_have_the_types_of_the_fields():
    config = read_config(
        "digits_w2a2",
        [
            "--config.batch_size=32",
            "--config.quantized.epochs=3",
            "--config.model.name=resnet14",
            "--config.stages=('quantized',)",
            "--config.figures=false",
        ],
    )
    assert config.batch_size == 32
    assert (config.quantized.epochs, type(config.quantized.epochs)) == (3.0, float)
    assert config.model.name == "resnet14"
    assert config.stages == ("quantized",)
    assert config.figures is False


def test_none_takes_the_value_away_from_a_field_that_may_be_without_one():
    given = ["--config.quantized.teacher=None", "--config.data.image_size=None"]
    given += ["--config.float.init=w", "--config.float.init=None"]
    config = read_config("digits_w2a2", given)
    assert (config.quantized.teacher, config.data.image_size, config.float.init) == (None,) * 3
    assert config.quantized.init == "float"
    given = ["--config.data.crop_padding=None", "--config.data.crop_padding=2"]
    assert read_config("digits_w2a2", given).data.crop_padding == 2


@pytest.mark.parametrize("field", ["batch_size", "quantized.epochs", "model.w_bits"])
def test_a_field_that_needs_a_value_cannot_be_none(field):
    with pytest.raises(ValueError, match=f"{field}=None"):
        read_config("digits_w2a2", [f"--config.{field}=None"])


def test_a_bool_needs_no_value():
    changed = read_config("digits_w2a2", ["--config.x64", "--noconfig.figures"])
    assert (changed.x64, changed.figures) == (True, False)


def test_the_last_of_two_values_counts():
    config = read_config("digits_w2a2", ["--config.seed=1", "--config.seed=2"])
    assert config.seed == 2


def test_a_file_is_read_anew_each_time(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FIELDS)
    assert read_config(str(path)).batch_size == 64
    path.write_text(FIELDS.replace("64", "65"))
    assert read_config(str(path), ["--config.seed=7"]).batch_size == 65


def test_the_configuration_is_locked():
    config = read_config("digits_w2a2")
    with pytest.raises(AttributeError, match="batchsize"):
        config.batchsize = 3


def test_two_readings_share_nothing():
    first = read_config("digits_w2a2", ["--config.model.w_bits=3"])
    assert first.model.w_bits == 3
    assert read_config("digits_w2a2").model.w_bits == 2
