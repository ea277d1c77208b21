import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from n2uq_jax.nn import QuantConvTranspose
from n2uq_jax.quantizers import quantize_weight


def uniform(*shape, seed=0):
    return jax.random.uniform(jax.random.key(seed), shape, minval=-1.0, maxval=2.0)


def reference(layer, x):
    """Flax's own layer on the values that codes and scales stand for."""
    axis = -2 if layer.transpose_kernel else -1
    plain = nnx.clone(layer)
    plain.kernel[...] = quantize_weight(layer.kernel[...], layer.w_bits, axis=axis).dequantize()
    return nnx.ConvTranspose.__call__(plain, layer.input_quantizer(x).dequantize())


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"strides": 2},
        {"strides": (3, 1), "padding": "VALID"},
        {"strides": 4, "kernel_dilation": 2},
        {"strides": 2, "padding": ((1, 0), (2, 1))},
        {"padding": 2, "use_bias": False},
        {"strides": 2, "transpose_kernel": True},
    ],
    ids=str,
)
def test_is_the_transposed_convolution_of_dequantized_values(arguments):
    layer = QuantConvTranspose(3, 4, (3, 2), w_bits=3, a_bits=2, rngs=nnx.Rngs(0), **arguments)
    if layer.bias is not None:
        layer.bias[...] = uniform(4)
    if layer.transpose_kernel:
        layer.kernel[...] = uniform(*layer.kernel.shape)
    x = uniform(2, 5, 4, 3)
    expected = reference(layer, x)
    result = layer(x)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


def test_any_number_of_batch_axes():
    layer = QuantConvTranspose(3, 4, (3,), strides=2, w_bits=2, a_bits=2, rngs=nnx.Rngs(0))
    x = uniform(2, 3, 5, 3)
    np.testing.assert_array_equal(layer(x)[1, 2], layer(x[1, 2]))


def test_padding_is_the_code_zero_for_signed_inputs_too():
    layer = QuantConvTranspose(
        1,
        1,
        (3,),
        padding="VALID",
        w_bits=1,
        a_bits=1,
        signed=True,
        use_bias=False,
        rngs=nnx.Rngs(0),
    )
    layer.kernel[...] = jnp.ones((3, 1, 1))
    np.testing.assert_array_equal(layer(jnp.ones((1, 2, 1)))[0, :, 0], [1, 2, 2, 1])


def test_bad_arguments_are_errors():
    arguments = {"w_bits": 2, "a_bits": 2, "rngs": nnx.Rngs(0)}
    with pytest.raises(ValueError, match="got 'CIRCULAR'"):
        QuantConvTranspose(1, 1, (3,), padding="CIRCULAR", **arguments)
    with pytest.raises(ValueError, match="mask must be None"):
        QuantConvTranspose(1, 1, (3,), mask=jnp.ones((3, 1, 1)), **arguments)
    with pytest.raises(ValueError, match=r"3 channels last, got shape \(2, 5, 4\)"):
        QuantConvTranspose(3, 1, (3,), **arguments)(uniform(2, 5, 4))
