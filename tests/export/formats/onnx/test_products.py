"""Products against those of JAX in int32, on integers that saturate careless kernels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from onnx import TensorProto

from n2uq_jax.export.formats.onnx.graph import OnnxGraph
from n2uq_jax.export.formats.onnx.products import (
    add_product,
    add_saturating,
    can_saturate,
)
from n2uq_jax.export.formats.onnx.window import Codes
from n2uq_jax.export.trace.products import Product
from n2uq_jax.export.trace.ranges import Range
from n2uq_jax.export.trace.tracing import trace
from tests.export.formats.onnx.nodes import run_nodes

RNG = np.random.default_rng(0)
KINDS = {np.uint8: TensorProto.UINT8, np.int8: TensorProto.INT8, np.int32: TensorProto.INT32}


def weights(shape, bits):
    largest = 2**bits - 1 if bits < 8 else 127
    values = RNG.choice([-largest, largest], shape)
    return values.astype(np.int8)


def codes(shape, low, high, dtype=np.uint8):
    """Integers that are often the largest, and reach both ends in every channel."""
    x = np.where(RNG.random(shape) < 0.7, high, RNG.integers(low, np.add(high, 1), shape))
    x[0, ..., :] = high
    return x.astype(dtype)


def product_of(function, x, weight):
    """Returns a traced product of ``x`` with a weight, and its sums in int32."""
    wide = jax.ShapeDtypeStruct(x.shape, np.int32)
    traced = trace(lambda _, v: function(v, jnp.asarray(weight, jnp.int32)), {}, wide)
    (op,) = [o for o in traced.ops if o.name in ("conv_general_dilated", "dot_general")]
    held = Range.of_array(x)
    return Product("layer", op, op, held, None), function(
        x.astype(np.int32), weight.astype(np.int32)
    )


def conv(strides=(1, 1), padding=((0, 0), (0, 0)), groups=1, dilation=(1, 1), **more):
    names = ("NHWC", "HWIO", "NHWC") if len(strides) == 2 else ("NWC", "WIO", "NWC")
    return lambda x, w: lax.conv_general_dilated(
        x,
        w,
        strides,
        padding,
        rhs_dilation=dilation,
        feature_group_count=groups,
        dimension_numbers=names,
        **more,
    )


def result_of(x, weight, product, **options):
    graph = OnnxGraph(25)
    held = Codes("x", KINDS[x.dtype.type], x.shape, product.codes)
    sums, rest = add_product(graph, held, weight, product)
    result = graph.node("Add", [sums, graph.constant(rest)])
    operators = {node.op_type for node in graph.nodes}
    return run_nodes(graph, result, x, **options), operators


PADDED = {"padding": ((1, 2), (0, 1))}
CASES = {
    # function, codes, weights, the operator that multiplies
    "patches of few bits": (
        conv((2, 1), **PADDED, dilation=(2, 1)), codes((2, 7, 6, 16), 0, 3),
        weights((3, 3, 16, 20), 2), "MatMulInteger",
    ),
    "one pixel": (
        conv(), codes((2, 3, 3, 16), 0, 15), weights((1, 1, 16, 9), 4), "MatMulInteger",
    ),
    "patches that would saturate": (
        conv(**PADDED), codes((1, 5, 5, 32), 0, 255), weights((3, 3, 32, 8), 8), "MatMulInteger",
    ),
    "few channels that would saturate": (
        conv((2, 2), **PADDED), codes((2, 9, 8, 3), 0, 255), weights((5, 5, 3, 8), 8),
        "Conv",
    ),
    "depthwise": (
        conv(**PADDED, groups=18), codes((2, 5, 5, 18), 0, 255), weights((3, 3, 1, 18), 8),
        "Conv",
    ),
    "grouped": (
        conv(groups=2, dilation=(2, 2)), codes((1, 5, 5, 32), 0, 7), weights((2, 2, 16, 6), 3),
        "Conv",
    ),
    "a line": (
        conv((2,), ((1, 1),), dilation=(2,)), codes((2, 9, 16), 0, 3), weights((3, 16, 5), 2),
        "MatMulInteger",
    ),
    "negative codes": (
        conv(**PADDED), codes((2, 5, 5, 16), -128, 127, np.int8), weights((3, 3, 16, 5), 8),
        "MatMulInteger",
    ),
    "pixels around their mean": (
        conv(**PADDED),
        codes((2, 5, 5, 3), [-124, -116, -104], [131, 139, 151], np.int32),
        weights((3, 3, 3, 5), 8), "Conv",
    ),
    "few channels whose sums float32 would round": (
        conv(**PADDED), codes((1, 15, 15, 3), 250, 255), weights((14, 14, 3, 8), 8), "ConvInteger",
    ),
    "wide": (
        conv(**PADDED), codes((2, 5, 5, 16), -3000, 3000, np.int32), weights((3, 3, 16, 5), 8),
        "MatMul",
    ),
    "wide groups": (
        conv(**PADDED, groups=2), codes((2, 5, 5, 16), -3000, 3000, np.int32),
        weights((3, 3, 8, 6), 8), "MatMul",
    ),
    "matrix": (
        lambda x, w: lax.dot_general(x, w, (((1,), (0,)), ((), ()))), codes((3, 64), 0, 255),
        weights((64, 10), 8), "MatMulInteger",
    ),
    "wide matrix": (
        lambda x, w: lax.dot_general(x, w, (((1,), (0,)), ((), ()))),
        codes((3, 64), -3000, 3000, np.int32), weights((64, 10), 8), "MatMul",
    ),
}  # fmt: skip


@pytest.mark.parametrize("optimized", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_sums_are_those_of_int32(name, optimized):
    function, x, weight, operator = CASES[name]
    product, expected = product_of(function, x, weight)
    result, operators = result_of(x, weight, product, optimized=optimized)
    assert {"MatMulInteger", "Conv", "ConvInteger", "MatMul"} & operators == {operator}
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("optimized", [True, False])
@pytest.mark.parametrize("groups", [1, 16])
def test_saturating_sums_end_at_the_ends_of_a_byte(groups, optimized):
    x = codes((2, 6, 5, 16), 0, 15)
    weight = RNG.integers(-15, 16, (3, 3, 16 // groups, 32)).astype(np.int8)
    function = conv((1, 2), **PADDED, groups=groups, dilation=(1, 2))
    product, sums = product_of(function, x, weight)
    assert can_saturate(Codes("x", TensorProto.UINT8, x.shape, product.codes), weight, product)
    bias = RNG.integers(-200, 300, 32)
    graph = OnnxGraph(25)
    output = add_saturating(graph, "x", weight, bias, product)
    expected = np.clip(np.asarray(sums) + bias, 0, 255)
    assert 0.05 < ((expected > 0) & (expected < 255)).mean() < 0.95
    result = run_nodes(graph, output, x, optimized=optimized)
    np.testing.assert_array_equal(result, expected)


def test_pairs_of_products_beyond_16_bits_are_not_trusted_to_saturating_kernels():
    x, weight = codes((1, 3, 3, 16), 0, 255), weights((1, 1, 16, 4), 8)
    product, _ = product_of(conv(), x, weight)
    held = Codes("x", TensorProto.UINT8, x.shape, product.codes)
    assert not can_saturate(held, weight, product)
    assert can_saturate(held, weights((1, 1, 16, 4), 6), product)
