import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from n2uq_jax.models.layers import ConvNorm, ConvShape, Precision, conv, max_pool
from n2uq_jax.nn import QuantConv

QUANTIZED = Precision(2, 3)


def test_a_convolution_has_the_shape_it_was_asked_for():
    shape = ConvShape(4, 6, 3, stride=2, groups=2)
    layer = conv(shape, precision=QUANTIZED, rngs=nnx.Rngs(0))
    assert isinstance(layer, QuantConv)
    assert (layer.w_bits, layer.input_quantizer.bits) == (2, 3)
    assert layer.kernel.shape == (3, 3, 2, 6)
    assert layer.bias is None
    assert layer(jnp.ones((1, 7, 8, 4))).shape == (1, 4, 4, 6)


def test_padding_is_half_the_window_on_every_side_also_at_stride_2():
    layer = conv(ConvShape(1, 1, 3, stride=2), precision=Precision(), rngs=nnx.Rngs(0))
    layer.kernel[...] = jnp.zeros((3, 3, 1, 1)).at[0, 0].set(1)
    image = jnp.arange(1.0, 17).reshape(1, 4, 4, 1)
    # The window's first pixel is one above and one left of 0, 2, ... ; SAME would not pad there.
    np.testing.assert_array_equal(layer(image)[0, :, :, 0], [[0, 0], [0, 6]])


def test_float_layers_and_layers_that_take_codes():
    shape = ConvShape(2, 2, 1)
    kept = conv(shape, quantized=False, precision=QUANTIZED, rngs=nnx.Rngs(0))
    twin = conv(shape, precision=Precision(), rngs=nnx.Rngs(0))
    assert type(kept) is type(twin) is nnx.Conv
    assert (
        conv(shape, quantize_input=False, precision=QUANTIZED, rngs=nnx.Rngs(0)).input_quantizer
        is None
    )


def test_kernels_are_drawn_with_the_variance_of_their_fan_out():
    layer = conv(ConvShape(64, 32, 3), precision=Precision(), rngs=nnx.Rngs(0))
    assert float(layer.kernel[...].var()) == pytest.approx(2 / (9 * 32), rel=0.05)


def test_a_normalization_follows():
    unit = ConvNorm(ConvShape(3, 5, 1), precision=Precision(), rngs=nnx.Rngs(0))
    unit.eval()
    unit.norm.mean[...] = jnp.arange(5.0)
    x = jnp.ones((1, 2, 2, 3))
    expected = (unit.conv(x) - jnp.arange(5.0).reshape(1, 1, 1, 5)) / np.sqrt(1 + 1e-5)
    np.testing.assert_allclose(unit(x), expected, rtol=1e-5, atol=1e-6)


def test_pooling_pads_with_nothing():
    image = -jnp.arange(1.0, 17).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(max_pool(image)[0, :, :, 0], [[-1, -2], [-5, -6]])


@pytest.mark.parametrize(("w_bits", "a_bits"), [(2, None), (None, 2)])
def test_one_bit_width_alone_is_refused(w_bits, a_bits):
    with pytest.raises(ValueError, match=f"got w_bits={w_bits}, a_bits={a_bits}"):
        Precision(w_bits, a_bits)


def test_dtypes_reach_the_parameters():
    half = Precision(dtype=jnp.bfloat16, param_dtype=jnp.float16)
    unit = ConvNorm(ConvShape(2, 2, 1), precision=half, rngs=nnx.Rngs(0))
    assert unit.conv.kernel.dtype == unit.norm.scale.dtype == jnp.float16
    unit.eval()
    assert unit(jnp.ones((1, 1, 1, 2))).dtype == jnp.bfloat16
