import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from n2uq_jax.models.forms import PostActivation
from n2uq_jax.models.layers import ConvShape, Precision
from n2uq_jax.models.resnet import (
    IMAGENET_DEPTHS,
    SMALL_DEPTHS,
    ResidualBlock,
    ResNet,
    ResNetShape,
    basic_block,
    bottleneck_block,
    resnet_shape,
)


@pytest.mark.parametrize("name", [*IMAGENET_DEPTHS, *SMALL_DEPTHS])
def test_names_count_the_convolutions_and_the_head(name):
    shape = resnet_shape(name)
    units = [unit for stage in shape.stages for block in stage for unit in block]
    assert len(units) + 2 == int(name.removeprefix("resnet"))


def test_blocks():
    assert basic_block(8, 16, 2) == [ConvShape(8, 16, 3, 2), ConvShape(16, 16, 3)]
    assert bottleneck_block(8, 4, 2) == [
        ConvShape(8, 4, 1),
        ConvShape(4, 4, 3, 2),
        ConvShape(4, 16, 1),
    ]


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet8"])
def test_blocks_fit_together_and_stages_after_the_first_halve_the_image(name):
    shape = resnet_shape(name)
    features = shape.stem_conv.out_features
    for i, stage in enumerate(shape.stages):
        for j, block in enumerate(stage):
            assert np.prod([unit.stride for unit in block]) == (2 if i > 0 and j == 0 else 1)
            for unit in block:
                assert unit.in_features == features
                features = unit.out_features
    assert features == {"resnet18": 512, "resnet50": 2048, "resnet8": 64}[name]


def test_stems():
    assert resnet_shape("resnet18", in_features=4).stem_conv == ConvShape(4, 64, 7, 2)
    small = resnet_shape("resnet8", in_features=1, width=8, stem_stride=2)
    assert small.stem_conv == ConvShape(1, 8, 3, 2)
    assert list(small.widths) == [8, 16, 32]


def test_a_block_adds_its_input_in_front_of_the_activation():
    form = PostActivation(Precision())
    block = ResidualBlock(basic_block(2, 2, 1), form=form, rngs=nnx.Rngs(0))
    block.eval()
    block.units[1].norm.scale[...] = jnp.zeros(2)
    block.units[1].norm.bias[...] = jnp.asarray([1.0, -1.0])
    x = jnp.asarray([0.5, 0.25]).reshape(1, 1, 1, 2)
    assert block.shortcut is None
    np.testing.assert_array_equal(block(x)[0, 0, 0], [1.5, 0])


@pytest.mark.parametrize(("out_features", "stride"), [(2, 2), (3, 1)])
def test_a_shortcut_is_convolved_where_the_shape_changes(out_features, stride):
    shapes = basic_block(2, out_features, stride)
    block = ResidualBlock(shapes, form=PostActivation(Precision()), rngs=nnx.Rngs(0))
    assert block.shortcut.conv.kernel.shape == (1, 1, 2, out_features)
    assert block.shortcut.conv.strides == (stride, stride)
    assert block(jnp.ones((1, 4, 4, 2))).shape == (1, 4 // stride, 4 // stride, out_features)


def test_only_an_imagenet_stem_pools():
    shapes = [
        ResNetShape("basic", (1,), (2,), stem, in_features=1) for stem in ("imagenet", "small")
    ]
    large, small = (ResNet(s, w_bits=None, a_bits=None, rngs=nnx.Rngs(0)) for s in shapes)
    images = jnp.ones((1, 16, 16, 1))
    assert large.stem(images).shape == (1, 4, 4, 2)
    assert small.stem(images).shape == (1, 16, 16, 2)


def test_logits_are_the_head_of_the_mean_over_the_image():
    shape = ResNetShape("basic", (1,), (2,), "small", in_features=1)
    model = ResNet(shape, num_classes=3, w_bits=None, a_bits=None, rngs=nnx.Rngs(0))
    x = jnp.arange(8.0).reshape(1, 2, 2, 2)
    np.testing.assert_allclose(
        model.classify(x), jnp.asarray([[3.0, 4.0]]) @ model.head.kernel[...], rtol=1e-6
    )
