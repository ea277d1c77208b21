import numpy as np

from n2uq_jax.export.artifact.tensors import (
    describe_tensors,
    flatten,
    pack_tensors,
    unflatten,
    unpack_tensors,
)


def test_thresholds_are_flat_on_disk_and_come_back(program):
    flat = flatten(program)
    name = "stages/1/0/units/1/conv/input_quantizer"
    assert flat[f"{name}/points"] is program.thresholds[name].points
    tensors, thresholds = unflatten(flat, program.folded)
    assert tensors.keys() == program.tensors.keys()
    assert thresholds.keys() == program.thresholds.keys()
    for name, held in thresholds.items():
        assert held.max_code == program.thresholds[name].max_code == 3
        np.testing.assert_array_equal(held.steps, program.thresholds[name].steps)
        np.testing.assert_array_equal(held.base, program.thresholds[name].base)


def test_weight_codes_alone_are_packed():
    tensors = {
        "a/weight": np.array([[-1, 1], [3, -3]], np.int8),
        "a/weight_decay": np.float32([1, 2]),
        "b/multiplier": np.array([5], np.int32),
        "c/weight": np.array([70_000], np.int32),  # beyond the integers that packing knows
    }
    packed, packings = pack_tensors(tensors)
    assert set(packings) == {"a/weight"}
    assert packed["a/weight"].nbytes == 1
    for name, array in unpack_tensors(packed, packings).items():
        np.testing.assert_array_equal(array, tensors[name])
    described = describe_tensors(packed, packings)
    assert described["b/multiplier"] == {"dtype": "int32", "shape": [1]}
    assert described["a/weight"]["bits"] == 2
