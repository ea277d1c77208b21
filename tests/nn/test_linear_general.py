import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from n2uq_jax.nn import QuantLinear, QuantLinearGeneral


def uniform(*shape, seed=0):
    return jax.random.uniform(jax.random.key(seed), shape, minval=-1.0, maxval=2.0)


@pytest.mark.slow
def test_over_the_last_axis_it_is_a_linear_layer_with_outputs_folded():
    general = QuantLinearGeneral(6, (2, 4), w_bits=3, a_bits=2, signed=True, rngs=nnx.Rngs(0))
    linear = QuantLinear(6, 8, w_bits=3, a_bits=2, signed=True, rngs=nnx.Rngs(0))
    linear.kernel[...] = general.kernel[...].reshape(6, 8)
    general.bias[...] = uniform(2, 4)
    linear.bias[...] = general.bias[...].reshape(8)
    x = uniform(3, 5, 6)
    np.testing.assert_array_equal(general(x), linear(x).reshape(3, 5, 2, 4))


@pytest.mark.parametrize("axis", [(1, 3), (-1, 1)])
def test_contracts_the_axes_it_is_told(axis):
    layer = QuantLinearGeneral((3, 5), 7, axis=axis, w_bits=8, a_bits=None, rngs=nnx.Rngs(0))
    x = uniform(2, 3, 4, 5)
    scale = 255 / 128 * jnp.abs(layer.kernel[...]).mean((0, 1))
    layer.kernel[...] = jnp.clip(layer.kernel[...], -scale[None, None], scale[None, None])
    result = layer(x)
    expected = nnx.LinearGeneral.__call__(layer, x)
    assert result.shape == expected.shape == (2, 4, 7)
    np.testing.assert_allclose(result, expected, atol=0.05)


def test_codes_and_scales_are_those_of_the_formula():
    layer = QuantLinearGeneral(
        (2, 2), 1, axis=(-2, -1), w_bits=1, a_bits=1, use_bias=False, rngs=nnx.Rngs(0)
    )
    layer.kernel[...] = jnp.array([[[1.0], [-1.0]], [[2.0], [4.0]]])  # mean magnitude 2
    x = jnp.array([[[1.5, 1.5], [0.5, 1.5]]])  # above 1: code 1, level 2
    np.testing.assert_array_equal(layer(x), [[2 * 2 * (1 - 1 + 0 + 1)]])


def test_takes_the_place_of_a_projection_in_attention():
    attention = nnx.MultiHeadAttention(2, 8, decode=False, rngs=nnx.Rngs(0))
    attention.query = QuantLinearGeneral(8, (2, 4), w_bits=4, a_bits=4, rngs=nnx.Rngs(0))
    assert attention(uniform(2, 5, 8)).shape == (2, 5, 8)


def test_thresholds_per_channel_are_those_of_the_last_axis():
    arguments = {"w_bits": 2, "a_bits": 2, "per_channel": True, "rngs": nnx.Rngs(0)}
    layer = QuantLinearGeneral((2, 4), 3, axis=(-2, -1), **arguments)
    assert layer.input_quantizer.intervals.shape == (3, 4)
    assert layer(uniform(5, 2, 4)).shape == (5, 3)
    with pytest.raises(ValueError, match="per_channel wants -1 in axis"):
        QuantLinearGeneral(2, 3, axis=1, **arguments)


def test_bad_arguments_are_errors():
    arguments = {"w_bits": 2, "a_bits": 2, "rngs": nnx.Rngs(0)}
    with pytest.raises(ValueError, match="batch_axis must be empty"):
        QuantLinearGeneral(2, 3, batch_axis={0: 2}, **arguments)
    with pytest.raises(TypeError, match="dot_general_cls is not an argument"):
        QuantLinearGeneral(2, 3, dot_general_cls=None, **arguments)
    layer = QuantLinearGeneral((2, 4), 3, axis=(-2, -1), **arguments)
    with pytest.raises(ValueError, match=r"\(2, 4\) features on the axes .* got shape \(5, 4, 2\)"):
        layer(uniform(5, 4, 2))
    with pytest.raises(ValueError, match="out_sharding must be None"):
        layer(uniform(5, 2, 4), out_sharding="x")
