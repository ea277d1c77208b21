import jax
import numpy as np
import pytest
from flax import nnx

from n2uq_jax.nn import QuantEinsum, QuantLinear
from n2uq_jax.nn.einsum import parse_subscripts


def uniform(*shape, seed=0):
    return jax.random.uniform(jax.random.key(seed), shape, minval=-1.0, maxval=2.0)


def test_subscripts_are_read():
    subscripts = parse_subscripts("n t a, h a b -> n t h b")
    assert subscripts == ("nta", "hab", "nthb")
    assert (subscripts.contracted, subscripts.features) == ("a", "hb")


@pytest.mark.parametrize(
    "einsum_str", ["bi,bio->bo", "aa,ab->b", "a,...ab->...b", "ab,bc->c", "ab,cd->abcd", "a,ab->"]
)
def test_what_is_no_matrix_product_is_an_error(einsum_str):
    with pytest.raises(ValueError, match=f"einsum_str must be a matrix product .* {einsum_str!r}"):
        parse_subscripts(einsum_str)


@pytest.mark.parametrize(
    ("einsum_str", "kernel", "bias", "x"),
    [
        ("...a,ab->...b", (4, 5), (5,), (2, 3, 4)),
        ("nta,hab->nthb", (2, 4, 3), (2, 3), (2, 5, 4)),
        ("nthb,bha->ant", (3, 2, 6), (6,), (4, 5, 2, 3)),
    ],
)
def test_fine_weights_give_nearly_the_float_result(einsum_str, kernel, bias, x):
    def sign(key, shape, dtype):  # magnitudes of one size, which 8 bits hold without clipping
        return jax.random.rademacher(key, shape, dtype)

    layer = QuantEinsum(
        einsum_str, kernel, bias, w_bits=8, a_bits=None, kernel_init=sign, rngs=nnx.Rngs(0)
    )
    layer.bias[...] = uniform(*bias, seed=1)
    expected = nnx.Einsum.__call__(layer, uniform(*x))
    np.testing.assert_allclose(layer(uniform(*x)), expected, rtol=0.01, atol=0.05)


def test_is_a_linear_layer_where_it_says_so():
    einsum = QuantEinsum("bi,io->bo", (6, 3), (3,), w_bits=2, a_bits=3, rngs=nnx.Rngs(0))
    linear = QuantLinear(6, 3, w_bits=2, a_bits=3, rngs=nnx.Rngs(0))
    linear.kernel[...], linear.bias[...] = einsum.kernel[...], einsum.bias[...]
    np.testing.assert_array_equal(einsum(uniform(5, 6)), linear(uniform(5, 6)))


def test_thresholds_per_channel_are_those_of_the_last_axis():
    arguments = {"w_bits": 2, "a_bits": 2, "per_channel": True, "rngs": nnx.Rngs(0)}
    layer = QuantEinsum("bhd,hdo->bo", (2, 4, 3), **arguments)
    assert layer.input_quantizer.start.shape == (4,)
    assert layer(uniform(5, 2, 4)).shape == (5, 3)
    with pytest.raises(ValueError, match="per_channel wants the input's last axis contracted"):
        QuantEinsum("bic,io->boc", (4, 3), **arguments)


def test_an_input_that_does_not_fit_is_an_error():
    layer = QuantEinsum("bi,io->bo", (6, 3), w_bits=2, a_bits=3, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"\(6,\) features on 'i', got shape \(2, 5\)"):
        layer(uniform(2, 5))
    with pytest.raises(ValueError, match=r"got shape \(2, 5, 6\)"):
        layer(uniform(2, 5, 6))
