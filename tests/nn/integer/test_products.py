import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from n2uq_jax.nn.integer import IntegerConv, IntegerLinear, Pixels
from n2uq_jax.quantizers import QArray


def conv(**kwargs):
    kwargs = {"padding": ((1, 1), (1, 1)), "rngs": nnx.Rngs(0), **kwargs}
    return IntegerConv(3, 5, (3, 3), 2, **kwargs)


def images():
    return jnp.asarray(np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)), jnp.uint8)


def test_first_convolution_is_that_of_normalized_pixels_up_to_the_weights_rounding():
    pixels, layer = Pixels((0.2, 0.4, 0.6), (0.1, 0.3, 0.5)), conv()
    trained = layer(pixels(images()))
    pixels.eval()
    evaluated = layer(pixels(images()))
    assert evaluated.codes.dtype == jnp.int32
    np.testing.assert_array_equal(evaluated.codes, trained.codes)
    assert evaluated.max_code == 27 * pixels(images()).max_code * 127
    exact = nnx.Conv.__call__(layer, pixels(images()).dequantize())
    error = np.abs(np.asarray(evaluated.dequantize() - exact))
    assert error.max() < 0.02 * np.abs(np.asarray(exact)).max()


def test_convolution_that_rounds_its_input():
    layer = conv(input_bits=8)
    x = jax.random.normal(jax.random.key(0), (1, 6, 6, 3))
    ints = QArray(jnp.round(x * 1000).astype(jnp.int32), jnp.float32(1e-3), 2**15)
    y = layer(ints)
    assert y.codes.dtype == jnp.int32
    assert y.max_code == 27 * 127 * 127
    exact = nnx.Conv.__call__(layer, x)
    error = np.abs(np.asarray(y.dequantize() - exact))
    assert error.max() < 0.1 * np.abs(np.asarray(exact)).max()


def linear(**kwargs):
    layer = IntegerLinear(16, 4, rngs=nnx.Rngs(0), **kwargs)
    layer.bias[...] = jnp.float32([0.5, -2, 0, 300])
    return layer


def test_linear_layer_has_one_scale_and_an_integer_bias():
    layer = linear()
    x = jax.random.normal(jax.random.key(0), (7, 16))
    ints = QArray(jnp.round(x * 1000).astype(jnp.int32), jnp.float32(1e-3), 2**15)
    y = layer(ints)
    assert y.codes.dtype == jnp.int32
    assert y.scale.shape == ()
    exact = nnx.Linear.__call__(layer, x)
    np.testing.assert_allclose(y.dequantize(), exact, atol=0.15)
    trained = layer(QArray(ints.codes.astype(jnp.float32), ints.scale, ints.max_code))
    # A code on the border between two may be another: one step of the input.
    step = float(np.abs(np.asarray(layer.kernel[...])).max() * layer.grid.scale)
    np.testing.assert_allclose(trained.dequantize(), y.dequantize(), atol=1.01 * step)


def test_linear_gradients():
    layer = linear(signed=False)
    x = jax.random.uniform(jax.random.key(0), (7, 16))
    weight = jax.random.normal(jax.random.key(1), (7, 4))

    def loss(call, layer, x):
        return (call(layer, x) * weight).sum()

    def integers(layer, x):
        return layer(QArray(x * 1000, jnp.float32(1e-3), 2**15)).dequantize()

    got = nnx.jit(nnx.grad(lambda m, x: loss(integers, m, x), argnums=(0, 1)))(layer, x)
    want = nnx.grad(lambda m, x: loss(nnx.Linear.__call__, m, x), argnums=(0, 1))(layer, x)
    np.testing.assert_allclose(got[0]["bias"][...], want[0]["bias"][...], rtol=1e-5)
    np.testing.assert_allclose(got[0]["kernel"][...], want[0]["kernel"][...], atol=0.1)
    np.testing.assert_allclose(got[1], want[1], atol=0.05)


def test_a_bias_beyond_the_sums_stays_in_32_bits():
    layer = linear()
    layer.bias[...] = jnp.float32([1e30, -1e30, 0, 0])
    y = layer(QArray(jnp.full((1, 16), 2**15, jnp.int32), jnp.float32(1), 2**15))
    assert y.codes[0, 0] > 2**28
    assert y.codes[0, 1] < -(2**28)
    assert y.max_code < 2**31


@pytest.mark.parametrize("bits", [1, 9])
def test_bits_out_of_range(bits):
    with pytest.raises(ValueError, match="2 to 8"):
        linear(bits=bits)(QArray(jnp.ones((1, 16)), jnp.float32(1), 1))
