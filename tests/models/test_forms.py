import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from n2uq_jax.models.forms import PostActivation, PreActivation
from n2uq_jax.models.layers import ConvNorm, ConvShape, Precision
from n2uq_jax.nn import QuantConv, RPReLU

SHAPE = ConvShape(2, 2, 1)
X = jnp.asarray([[[[-2.0, 3.0]]]])


def identity(unit):
    """Makes a unit's convolution and normalization the identity, but for the variance's epsilon."""
    unit.conv.kernel[...] = jnp.eye(2).reshape(1, 1, 2, 2)
    unit.eval()
    return unit


def test_the_papers_form_activates_in_front():
    unit = identity(PreActivation(Precision()).unit(SHAPE, last=False, rngs=nnx.Rngs(0)))
    # The slope of an RPReLU begins at a quarter, and nothing follows the normalization.
    np.testing.assert_allclose(unit(X), [[[[-0.5, 3.0]]]], rtol=1e-5)


def test_torchvisions_form_activates_behind_all_units_but_the_last():
    form = PostActivation(Precision(), activation=nnx.relu6)
    inner, last = form.units([SHAPE, SHAPE], rngs=nnx.Rngs(0))
    np.testing.assert_allclose(identity(inner)(4 * X), [[[[0, 6]]]], rtol=1e-5)
    np.testing.assert_allclose(identity(last)(4 * X), [[[[-8, 12]]]], rtol=1e-5)


def test_the_sum_of_a_block():
    activation = PreActivation(Precision()).sum_activation(2, rngs=nnx.Rngs(0))
    assert isinstance(activation, RPReLU)
    np.testing.assert_allclose(activation(X), [[[[-0.5, 3.0]]]])
    relu = PostActivation(Precision()).sum_activation(2, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(relu(X), [[[[0, 3.0]]]])


@pytest.mark.parametrize("quantize_downsample", [True, False])
def test_shortcuts_have_no_activation_and_are_quantized_if_asked(quantize_downsample):
    form = PreActivation(Precision(2, 2), quantize_downsample)
    shortcut = form.shortcut(SHAPE, rngs=nnx.Rngs(0))
    assert type(shortcut) is ConvNorm
    assert isinstance(shortcut.conv, QuantConv) is quantize_downsample


def test_the_head_is_linear_and_float():
    head = PreActivation(Precision(2, 2)).head(3, 5, rngs=nnx.Rngs(0))
    assert type(head) is nnx.Linear
    assert head.kernel.shape == (3, 5)


def test_units_are_quantized_at_the_precision():
    for unit in PreActivation(Precision(3, 4)).units([SHAPE, SHAPE], rngs=nnx.Rngs(0)):
        assert (unit.conv.w_bits, unit.conv.input_quantizer.bits) == (3, 4)
