import jax.numpy as jnp
import numpy as np
import pytest

from n2uq_jax.export import build_program
from tests.export.dense_network import (
    SHAPE,
    WEIGHT,
    affine,
    multiply,
    network,
    parameters,
    quantize,
)


def test_thresholds_are_those_of_the_arithmetic():
    steps = []
    program = build_program(
        (network, parameters()), SHAPE, lambda *step: steps.append(step), image_dtype=np.uint8
    )
    assert program.unfolded == {}
    assert program.folded == {"head": 3}
    assert steps == [("Reading off thresholds", 0, 1), ("Reading off thresholds", 1, 1)]
    # What a rising, a falling and a constant channel compare with: sum > point.
    assert program.thresholds["head"].points[0].tolist() == [5, 55, 105]
    assert program.thresholds["head"].steps[:, 0].tolist() == [1, -1, 1]
    assert set(program.tensors) == {"dense/weight", "head/scale"}
    np.testing.assert_array_equal(program.tensors["dense/weight"], WEIGHT)


def test_what_reads_two_values_stays_float():
    def residual(p, images):
        sums = multiply(p["dense"], images), multiply(p["second"], images)
        u = sum(affine(p["dense"], each) for each in sums)
        return quantize(p["head"], u)

    p = {**parameters(), "second": {"kernel": WEIGHT[::-1]}}
    program = build_program((residual, p), SHAPE, image_dtype=np.uint8)
    assert program.thresholds == {}
    assert program.unfolded == {"head": "reads 2 values together, as a residual sum does"}
    assert not program.integer_only


def test_a_restless_channel_stays_float():
    def waves(p, images):
        return quantize(p["head"], jnp.sin(affine(p["dense"], multiply(p["dense"], images))))

    p = parameters()
    p["dense"]["gain"] = np.float32([0.01, 0, 2])
    program = build_program((waves, p), SHAPE, image_dtype=np.uint8)
    assert program.thresholds == {}
    assert program.unfolded["head"].startswith("the codes of channel 2 change")


def test_nothing_to_export():
    with pytest.raises(ValueError, match="no quantized layer: there is nothing to export"):
        build_program((lambda p, x: x.reshape(-1, 2) * p["a"], {"a": np.float32(1)}), SHAPE)


def test_sums_that_wrap_are_refused():
    wide = parameters()
    wide["dense"]["kernel"] = np.full((2, 3), 2**23, np.int32)
    with pytest.raises(ValueError, match=r"must not overflow; dense: dot_general in int32"):
        build_program((network, wide), SHAPE, image_dtype=np.uint8)
