import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from n2uq_jax.nn import ActivationQuantizer, QuantLinear
from n2uq_jax.quantizers import quantize_weight


def make(**kwargs):
    return QuantLinear(4, 3, **{"w_bits": 3, "a_bits": 3} | kwargs, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("shape", [(4,), (2, 4), (2, 3, 4), (0, 4)])
@pytest.mark.parametrize("use_bias", [True, False])
def test_against_dequantized_values(shape, use_bias):
    layer = make(use_bias=use_bias, bias_init=nnx.initializers.normal())
    x = jax.random.normal(jax.random.key(0), shape)
    w = quantize_weight(layer.kernel[...], 3).dequantize()
    expected = layer.input_quantizer(x).dequantize() @ w
    if use_bias:
        expected = expected + layer.bias[...].reshape((1,) * (len(shape) - 1) + (-1,))
    y = layer(x)
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_without_an_input_quantizer():
    x = jax.random.normal(jax.random.key(0), (2, 4))
    layer = make(a_bits=None)
    w = quantize_weight(layer.kernel[...], 3).dequantize()
    np.testing.assert_allclose(layer(x), x @ w, rtol=1e-5, atol=1e-6)
    q = ActivationQuantizer(3)(x)
    np.testing.assert_array_equal(layer(q), make()(x))
    with pytest.raises(TypeError, match="inputs is a QArray, but this layer quantizes"):
        make()(q)


def test_dtypes_and_operands():
    x = jax.random.normal(jax.random.key(0), (2, 4), jnp.bfloat16)
    assert make()(x).dtype == jnp.float32
    narrow = make(dtype=jnp.bfloat16)
    assert narrow.kernel[...].dtype == jnp.float32
    assert narrow(x).dtype == jnp.bfloat16
    np.testing.assert_array_equal(narrow(x), make()(x).astype(jnp.bfloat16))
    np.testing.assert_array_equal(make(operands="int8")(x), make()(x))


def test_per_channel_quantizer_in_a_jitted_step():
    layer = make(per_channel=True, signed=True)
    assert layer.input_quantizer.intervals[...].shape == (7, 4)
    gradients = nnx.jit(nnx.grad(lambda layer, x: (layer(x) ** 2).sum()))(
        layer, jax.random.normal(jax.random.key(0), (8, 4))
    )
    assert all((leaf != 0).any() for leaf in jax.tree.leaves(gradients))


def test_sums_that_no_type_holds_are_an_error_that_names_the_layer():
    layer = nnx.eval_shape(lambda: QuantLinear(33_100, 1, w_bits=8, a_bits=8, rngs=nnx.Rngs(0)))
    x = jax.ShapeDtypeStruct((1, 33_100), jnp.float32)
    with pytest.raises(ValueError, match=r"QuantLinear with a kernel of shape \(33100, 1\): sums"):
        nnx.eval_shape(lambda layer, x: layer(x), layer, x)


@pytest.mark.slow
def test_a_diverging_run_of_eight_bits_is_seen():
    layer = QuantLinear(512, 3, w_bits=8, a_bits=8, rngs=nnx.Rngs(0))  # sums in int32
    x = jnp.ones((4, 512)).at[2, 5].set(jnp.nan)
    loss, gradients = nnx.value_and_grad(lambda layer: layer(x).sum())(layer)
    assert np.isnan(loss)
    assert np.isnan(gradients.kernel[...]).any()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: make(w_bits=None), TypeError, "w_bits must be an int from 1 to 8, got None"),
        (lambda: make(a_bits=0), ValueError, "a_bits must be from 1 to 8, got 0"),
        (lambda: make(dot_general=max), TypeError, "dot_general is not an argument"),
        (lambda: make()(jnp.ones((2, 3))), ValueError, r"4 features last, got shape \(2, 3\)"),
        (lambda: make()(jnp.float32(1)), ValueError, r"4 features last, got shape \(\)"),
        (lambda: make()(jnp.ones(4, bool)), TypeError, "inputs must be of a float dtype.*bool"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
