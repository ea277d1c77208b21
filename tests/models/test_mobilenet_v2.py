import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from n2uq_jax.models.forms import PostActivation
from n2uq_jax.models.layers import ConvShape, Precision
from n2uq_jax.models.mobilenet_v2 import (
    InvertedResidual,
    MobileNetShape,
    MobileNetV2,
    inverted_block,
    mobilenet_shape,
)
from n2uq_jax.nn import PACT

FORM = PostActivation(Precision(), activation=nnx.relu6)


def test_a_block_widens_convolves_each_channel_and_narrows():
    assert inverted_block(4, 5, 6, 2) == [
        ConvShape(4, 24, 1),
        ConvShape(24, 24, 3, 2, groups=24),
        ConvShape(24, 5, 1),
    ]


@pytest.mark.parametrize(
    ("shape", "blocks", "last", "strides"),
    [
        (MobileNetShape(), 17, ConvShape(320, 1280, 1), 4),
        (mobilenet_shape("mobilenet_v2_small", width=4), 5, ConvShape(16, 64, 1), 2),
    ],
)
def test_blocks_fit_together(shape, blocks, last, strides):
    assert len(shape.blocks) == blocks
    features = shape.stem_conv.out_features
    for block in shape.blocks:
        for unit in block:
            assert unit.in_features == features
            features = unit.out_features
    assert shape.last_conv == last
    assert features == last.in_features
    assert [u.stride for b in shape.blocks for u in b if u.stride > 1] == [2] * strides


def test_the_first_convolution_of_the_small_network():
    shape = mobilenet_shape("mobilenet_v2_small", in_features=1, width=4, stem_stride=2)
    assert shape.stem_conv == ConvShape(1, 4, 3, 2)
    assert mobilenet_shape("mobilenet_v2", in_features=1).stem_conv == ConvShape(1, 32, 3, 2)


def test_the_input_is_added_where_the_shape_stays_and_nothing_follows():
    block = InvertedResidual(inverted_block(2, 2, 1, 1), form=FORM, rngs=nnx.Rngs(0))
    block.eval()
    block.units[-1].norm.scale[...] = jnp.zeros(2)
    block.units[-1].norm.bias[...] = jnp.asarray([1.0, -9.0])
    x = jnp.asarray([7.0, 0.5]).reshape(1, 1, 1, 2)
    np.testing.assert_array_equal(block(x)[0, 0, 0], [8.0, -8.5])


def test_nothing_is_added_where_the_shape_changes():
    for shapes in (inverted_block(2, 2, 1, 2), inverted_block(2, 3, 1, 1)):
        block = InvertedResidual(shapes, form=FORM, rngs=nnx.Rngs(0))
        block.eval()
        block.units[-1].norm.scale[...] = jnp.zeros(shapes[-1].out_features)
        np.testing.assert_array_equal(block(jnp.ones((1, 2, 2, 2))), 0)


@pytest.mark.slow
def test_the_last_convolution_reads_codes_of_pact_and_relu_in_the_float_twin():
    def build(bits):
        return nnx.eval_shape(lambda: MobileNetV2(w_bits=bits, a_bits=bits, rngs=nnx.Rngs(0)))

    model, twin = build(4), build(None)
    assert isinstance(model.last_activation, PACT)
    assert model.last_conv.input_quantizer is None
    assert twin.last_activation is nnx.relu
    assert (type(model.conv), type(model.head)) == (nnx.Conv, nnx.Linear)
