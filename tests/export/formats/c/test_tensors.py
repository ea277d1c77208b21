import re

import numpy as np
import pytest

from n2uq_jax.export.formats.c.layers import Conv, Dense, LayerList, Pool, Rescale
from n2uq_jax.export.formats.c.tensors import Tensor, tensors

WEIGHT = np.array([[3, -1], [-2, 1]], np.int8).reshape(1, 1, 2, 2)


def network(*layers, shape=(4, 4, 2), zero=0):
    return LayerList("image", shape, np.full(shape[2], zero, np.uint8), layers, layers[-1].output)


def test_ranges_are_those_that_the_weights_allow():
    found = tensors(network(Conv("image", "sums", WEIGHT), zero=100))
    assert found["image"] == Tensor((4, 4, 2), -100, 155)
    # Channel 0: 3 a - 2 b; channel 1: b - a.
    assert found["sums"] == Tensor((4, 4, 2), -300 - 310, 3 * 155 + 200)


def test_shapes_follow_strides_dilation_and_padding():
    kernel = np.ones((3, 2, 2, 5), np.int8)
    conv = Conv("image", "y", kernel, (2, 1), ((1, 2), (0, 3)), (2, 3))
    assert tensors(network(conv, shape=(9, 6, 2)))["y"].shape == (4, 6, 5)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Conv("image", "y", np.ones((1, 1, 3, 2), np.int8)), "do not take 2 channels"),
        (Conv("image", "y", np.ones((5, 1, 2, 2), np.int8)), "do not fit an input of (4, 4)"),
        (Dense("image", "y", np.ones((31, 2), np.int8)), "do not take (4, 4, 2)"),
        (Pool("image", "y", "max", (2, 2), padding=((2, 0), (0, 0))), "in the padding alone"),
        (Pool("x", "y", "max", (2, 2)), "reads 'x', which no layer before it makes"),
        (Pool("image", "image", "max", (2, 2)), "two layers make the tensor 'image'"),
        (
            Rescale("image", "y", np.full(2, 2**24), np.zeros(2), np.zeros(2, int), 0, 9),
            "outside of int32",
        ),
    ],
)
def test_a_layer_that_does_not_fit_is_refused(layer, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        tensors(network(layer))
