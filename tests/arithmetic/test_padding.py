"""Maps smaller than a window: the same convolution, which XLA does not turn around."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from n2uq_jax.arithmetic import quantized_conv
from n2uq_jax.arithmetic.padding import pad_small_maps
from n2uq_jax.quantizers import QArray

NUMBERS = ("NHWC", "HWIO", "NHWC")


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize(
    ("size", "strides"), [((2, 2), (1, 1)), ((1, 3), (1, 2)), ((2, 4), (2, 1))]
)
def test_the_convolution_is_the_same(size, strides, groups):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.integers(0, 4, (2, *size, 4)), jnp.float32)
    w = jnp.asarray(rng.integers(-3, 4, (3, 3, 4 // groups, 8)), jnp.float32)
    options = {"dimension_numbers": NUMBERS, "feature_group_count": groups}
    padding = ((1, 1), (0, 2))
    padded, left = pad_small_maps(x, (3, 3), padding, (1, 1), (1, 2))
    assert padded.shape == (2, size[0] + 2, size[1] + 2, 4)
    assert left == ((0, 0), (0, 0))
    np.testing.assert_array_equal(
        lax.conv_general_dilated(padded, w, strides, left, **options),
        lax.conv_general_dilated(x, w, strides, padding, **options),
    )


@pytest.mark.parametrize(
    ("size", "padding", "dilation"),
    [
        ((3, 3), ((1, 1), (1, 1)), (1, 1)),
        ((2, 2), "SAME", (1, 1)),
        ((2, 2), ((1, 1), (1, 1)), (2, 1)),
    ],
)
def test_other_convolutions_stay_as_they_are(size, padding, dilation):
    x = jnp.zeros((2, *size, 1))
    padded, left = pad_small_maps(x, (3, 3), padding, dilation, (1, 2))
    assert padded is x
    assert left == padding


def test_products_of_codes_keep_their_operands():
    """XLA has a slow program for weights as the image; it is seen by what it reverses."""
    scale = jnp.ones((), jnp.float32)
    x, w = jnp.ones((2, 2, 2, 8)), jnp.ones((3, 3, 8, 8))

    @jax.jit
    def convolve(x, w):
        a, b = QArray(x, scale, 3), QArray(w, scale, 3)
        return quantized_conv(a, b, strides=(1, 1), padding=((1, 1), (1, 1)))

    assert "rhs_reversal" not in convolve.lower(x, w).compile().as_text()
