import dataclasses

import jax
import numpy as np
import pytest

from n2uq_jax.export import build_program
from tests.export.dense_network import (
    SHAPE,
    built,
    codes_of,
    network,
    parameters,
    pixels,
    sums_of,
)


@pytest.fixture
def program():
    return built()[0]


def test_logits_and_codes_are_the_networks(program):
    images = pixels()
    logits, codes = program.codes(images)
    assert set(codes) == {"head"}
    expected = codes_of(sums_of(images))
    np.testing.assert_array_equal(codes["head"], expected)
    np.testing.assert_array_equal(logits, np.float32(0.5) * expected, strict=False)
    np.testing.assert_array_equal(logits, jax.jit(network)(parameters(), images))
    np.testing.assert_array_equal(program(images), logits)
    np.testing.assert_array_equal(program(images[:3]), logits[:3])


def test_thresholds_decide(program):
    """The program runs on its tensors and thresholds, and on nothing of the network's floats."""
    held = program.thresholds["head"]
    higher = dataclasses.replace(held, points=held.points + 400)
    changed = dataclasses.replace(program, thresholds={"head": higher})
    images = pixels()
    sums = sums_of(images)[:, 0]
    expected = (sums[:, None] > np.array([5, 55, 105]) + 400).sum(-1)
    assert expected.max() > 0
    np.testing.assert_array_equal(changed.codes(images)[1]["head"][:, 0], expected)


def test_run_takes_other_tensors(program):
    doubled = {**program.tensors, "head/scale": np.float32(1)}
    logits, _ = program.run(doubled, program.thresholds, pixels())
    np.testing.assert_array_equal(logits, 2 * program(pixels()))


def test_what_is_known_of_it(program):
    assert program.image_shape == SHAPE
    assert program.folded == {"head": 3}
    assert program.integer_only
    assert program.network(1) is program.network(1)
    assert program.network(5).graph.inputs[0].shape == (5, *SHAPE)


@pytest.mark.parametrize(
    "function",
    [
        lambda p, x: network(p, x) * p["head"]["scale"],
        lambda p, x: network(p, x) + p["dense"]["bias"][None],
    ],
    ids=["two scales", "a float bias"],
)
def test_float_arithmetic_is_told(function):
    program = build_program((function, parameters()), SHAPE, image_dtype=np.uint8)
    assert program.unfolded == {}
    assert not program.integer_only
