import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from n2uq_jax.export.program.execution import Execution
from tests.export.dense_network import built, codes_of, pixels, sums_of


@pytest.fixture
def execution():
    program, _, _ = built()
    return Execution(program.network(64), program.tensors, program.thresholds, pixels())


def test_results(execution):
    logits, codes = execution.results()
    np.testing.assert_array_equal(codes["head"], codes_of(sums_of(pixels())))
    np.testing.assert_array_equal(logits, 0.5 * codes_of(sums_of(pixels())), strict=False)


def test_integers_are_held_in_narrow_types(execution):
    _, codes = execution.results()
    assert codes["head"].dtype == jnp.int8
    (product,) = execution.network.products
    sums = execution.env[product.accumulator]
    assert sums.dtype == jnp.int32
    np.testing.assert_array_equal(sums, sums_of(pixels()))
    activations = execution.env[product.op.inputs[0]]
    assert activations.dtype == jnp.int32  # 0..255 does not fit int8


def test_values_come_back_in_the_networks_dtype(execution):
    execution.results()
    (quantizer,) = execution.network.quantizers
    assert execution.env[quantizer.codes].dtype == jnp.int8
    native = execution.native(quantizer.codes)
    assert native.dtype == quantizer.codes.aval.dtype == jnp.float32
    np.testing.assert_array_equal(native, codes_of(sums_of(pixels())), strict=False)
    assert execution.native(quantizer.codes) is native  # converted once, for all that read it
    image = execution.network.graph.inputs[0]
    assert execution.native(image) is execution.env[image]


def test_the_float_chain_is_not_computed(execution):
    """Only products, thresholds and the last scale are in the compiled program."""
    program, _, _ = built()
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (program.tensors, program.thresholds)
    )
    images = jax.ShapeDtypeStruct(pixels().shape, jnp.uint8)
    text = str(jax.make_jaxpr(program.run)(*shapes, images))
    assert text.count("dot_general") == 1
    assert text.count("f32[64,3] = mul") == 1
    assert "f32[64,3] = add" not in text
    assert lax.dot_general_p.name in text
