from pathlib import Path

import pytest

from n2uq_jax.training.checks import check_config
from n2uq_jax.training.config import default_config
from n2uq_jax.training.config_file import load_config


def test_every_shipped_config_is_consistent():
    folder = Path(__file__).parents[2] / "configs"
    names = [p.stem for p in folder.glob("[a-z]*.py")]
    assert {"digits_w2a2", "fashion_mnist_w2a2"} <= set(names)
    for name in names:
        check_config(load_config(name))


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
    config = default_config()
    config.update_from_flattened_dict(change)
    with pytest.raises(ValueError, match=message):
        check_config(config)
