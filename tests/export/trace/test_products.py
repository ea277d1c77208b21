import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from n2uq_jax.arithmetic import quantized_conv
from n2uq_jax.export.trace.products import (
    Product,
    bilinear,
    channels_last,
    is_product,
    unpadded,
)
from n2uq_jax.export.trace.ranges import Range
from n2uq_jax.export.trace.tracing import trace
from n2uq_jax.quantizers import QArray

IMAGES = jax.ShapeDtypeStruct((2, 4, 4, 2), jnp.int32)
KERNEL = np.array([[1, -2, 3], [4, 0, -6]]).reshape(1, 1, 2, 3)


def convolve(x, kernel, padding=((0, 0), (0, 0)), dimensions=("NHWC", "HWIO", "NHWC"), **options):
    return lax.conv_general_dilated(
        x, kernel, (1, 1), padding, dimension_numbers=dimensions, **options
    )


def traced(function, dtype=jnp.int32, kernel=KERNEL):
    """Returns the trace of ``function(x, kernel)`` and its convolution or matrix product."""
    parameters = {"kernel": jax.ShapeDtypeStruct(kernel.shape, dtype)}
    x = jax.ShapeDtypeStruct(IMAGES.shape, dtype)
    graph = trace(lambda p, x: function(x, p["kernel"]), parameters, x)
    (op,) = (op for op in graph.ops if op.name in ("conv_general_dilated", "dot_general"))
    return graph, op


def product(op, codes):
    return Product("layer", op, bilinear(op), codes, None)


@pytest.mark.parametrize(
    ("function", "dtype", "expected"),
    [
        (convolve, jnp.int32, True),
        (convolve, jnp.float32, False),
        (lambda x, k: x.reshape(-1, 2) @ k.reshape(2, 3), jnp.int32, True),
        (lambda x, k: k.reshape(3, 2) @ x.reshape(2, -1), jnp.int32, False),  # weights on the left
        (lambda x, k: x.reshape(2, -1) @ x.reshape(-1, 2) + k.sum(), jnp.int32, False),
    ],
)
def test_products_of_integers_with_weights_are_found(function, dtype, expected):
    graph, op = traced(function, dtype)
    assert is_product(op, graph) is expected
    assert not any(is_product(other, graph) for other in graph.ops if other is not op)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (convolve, True),
        (lambda x, k: convolve(x, k, dimensions=("NHWC", "HWIO", "NCHW")), False),
        (
            lambda x, k: convolve(x, k.reshape(3, 2, 1, 1), dimensions=("NHWC", "OIHW", "NHWC")),
            False,
        ),
        (lambda x, k: x @ k[0, 0], True),
        (lambda x, k: x @ k.reshape(3, 2).T, True),
        (lambda x, k: lax.dot_general(k[0, 0], x, (((0,), (3,)), ((), ()))), False),
    ],
)
def test_channels_last(function, expected):
    assert channels_last(traced(function)[1]) is expected


def test_sums_of_a_matrix_product():
    _, op = traced(lambda x, k: x @ k[0, 0])
    held = product(op, Range.of([0, -1], [3, 2])).accumulator_range(KERNEL[0, 0])
    assert held.low.tolist() == [-4, -6, -12]
    assert held.high.tolist() == [11, 0, 15]


def test_padding_lets_terms_be_missing():
    codes = Range.of(1, 3)
    _, whole = traced(convolve)
    assert not product(whole, codes).pads
    assert product(whole, codes).accumulator_range(KERNEL).low.tolist() == [5, -6, -15]
    for options in ({"padding": ((0, 1), (0, 0))}, {"lhs_dilation": (2, 1)}):
        _, padded = traced(lambda x, k, o=options: convolve(x, k, **o))
        assert product(padded, codes).pads
        held = product(padded, codes).accumulator_range(KERNEL)
        assert held.low.tolist() == [0, -6, -18]
        assert held.high.tolist() == [15, 0, 9]


def test_groups_keep_their_inputs_apart():
    kernel = np.array([5, -7]).reshape(1, 1, 1, 2)
    _, op = traced(lambda x, k: convolve(x, k, feature_group_count=2), kernel=kernel)
    held = product(op, Range.of([0, 2], [1, 4])).accumulator_range(kernel)
    assert held.low.tolist() == [0, -28]
    assert held.high.tolist() == [5, -14]


def test_a_small_map_is_padded_in_front_and_read_as_one_convolution():
    scale = jnp.ones((), jnp.float32)

    def product_of(p, x):
        codes, weight = QArray(x, scale, 3), QArray(p["kernel"], scale, 3)
        return quantized_conv(codes, weight, strides=(1, 1), padding=((1, 1), (0, 2)))

    kernel = np.random.default_rng(0).integers(-3, 4, (3, 3, 4, 5)).astype(np.float32)
    x = np.random.default_rng(1).integers(0, 4, (2, 2, 2, 4)).astype(np.float32)
    graph = trace(product_of, {"kernel": kernel}, x)
    (op,) = (op for op in graph.ops if op.is_product)
    assert [inner.name for inner in op.body].count("pad") == 1
    read = unpadded(op)
    assert "pad" not in [inner.name for inner in read]
    assert bilinear(op).params["padding"] == ((1, 1), (0, 2))
    whole = dataclasses.replace(op, body=read)
    np.testing.assert_array_equal(whole(x, kernel)[0], op(x, kernel)[0])
