import numpy as np

from n2uq_jax.export import build_program
from n2uq_jax.export.artifact.description import describe
from tests.export.integer_network import SHAPE, network, parameters


def test_steps_of_an_integer_network():
    steps = describe(build_program((network, parameters()), SHAPE, image_dtype=np.uint8))
    assert [(step["kind"], step["name"]) for step in steps] == [
        ("integer", "value 0"),
        ("convolution", "stem"),
        ("integer", "stem/integers"),
        ("thresholds", "block"),
        ("convolution", "block#2"),
        ("integer", "add/integers"),
        ("thresholds", "head"),
        ("matrix product", "head#2"),
        ("integer", "value 1"),
        ("float", "logits"),
    ]
    assert steps[0]["reads"] == ["images"]
    assert steps[5]["reads"] == ["block#2", "stem/integers"]
    assert steps[5]["operations"]["shift_right_arithmetic"] == 1
    assert steps[-1]["operations"] == {"mul": 1}


def test_steps_read_what_was_written(program):
    written = {"images"}
    for step in describe(program):
        assert set(step["reads"]) <= written
        written.add(step["name"])
    assert "logits" in written
