import json
import os
from pathlib import Path

import pytest

from n2uq_jax.training import config as C


def test_configs_are_found_by_path_and_by_name(tmp_path):
    by_name = C.find_config("digits_w2a2")
    assert by_name.name == "digits_w2a2.py"
    assert C.find_config(str(by_name)) == by_name
    mine = tmp_path / "mine.py"
    mine.write_text("def get_config(): return 42\n")
    assert C.load_config(str(mine)) == 42


def test_an_unknown_config_lists_the_known_ones():
    with pytest.raises(FileNotFoundError, match=r"digits_w2a2.*got 'digit'"):
        C.find_config("digit")


def test_every_shipped_config_is_consistent():
    folder = Path(__file__).parents[2] / "configs"
    names = [p.stem for p in folder.glob("[a-z]*.py")]
    assert {"digits_w2a2", "fashion_mnist_w2a2"} <= set(names)
    for name in names:
        C.check_config(C.load_config(name))


def test_misspelt_fields_are_errors():
    with pytest.raises(AttributeError, match="batchsize"):
        C.default_config().batchsize = 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accumulate": 3}, "accumulate must divide batch_size=128, got 3"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_norm": "local"}, "batch_norm must be 'global' or 'per_device', got 'local'"),
        ({"stages": ()}, "at least one stage"),
        ({"stages": ("float", "quantized", "float")}, "stages must differ from each other"),
        ({"profile_steps": (3, 2)}, "profile_steps must be a first and a last step .* 3 and 2"),
        ({"stages": ("seed",)}, "config.seed is no stage"),
        ({"stages": ("quantized", "float")}, "quantized.init must name an earlier stage"),
        ({"quantized.label_weight": 2.0}, "quantized.label_weight must be in 0..1, got 2.0"),
        ({"float.epochs": -1.0}, "float.epochs"),
        ({"stages": ("float",), "export": True}, "export wants a quantized last stage"),
    ],
)
def test_contradictions_are_named(change, message):
    config = C.default_config()
    config.update_from_flattened_dict(change)
    with pytest.raises(ValueError, match=message):
        C.check_config(config)


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    C.write_json(path, {"a": [1, 2]})
    assert json.loads(path.read_text()) == {"a": [1, 2]}
    with pytest.raises(TypeError):
        C.write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": [1, 2]}
    assert os.listdir(tmp_path) == ["a.json"]
