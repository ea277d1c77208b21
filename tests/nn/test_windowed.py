import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from n2uq_jax.nn import QuantConv
from n2uq_jax.nn.windowed import padding_pairs, per_axis


def test_one_number_an_axis():
    assert per_axis(None, 3) == (1, 1, 1)
    assert per_axis(2, 2) == (2, 2)
    assert per_axis([2, 1], 2) == (2, 1)


def test_padding_in_numbers():
    assert padding_pairs(1, 2) == [(1, 1), (1, 1)]
    assert padding_pairs([1, (0, 2)], 2) == [(1, 1), (0, 2)]
    with pytest.raises(ValueError, match=r"padding must have 2 entries, one a spatial axis; got"):
        padding_pairs([1], 2)


def test_batch_axes_are_flattened_and_restored():
    layer = QuantConv(2, 3, 3, w_bits=2, a_bits=2, rngs=nnx.Rngs(0))
    x = jnp.linspace(-1, 3, 2 * 4 * 5 * 2).reshape(2, 4, 5, 2)
    y = layer(x)
    assert y.shape == (2, 4, 5, 3)
    for i in range(2):
        np.testing.assert_array_equal(y[i], layer(x[i]))
    np.testing.assert_array_equal(y[1, 2], layer(x[1, 2]))
