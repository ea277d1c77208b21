import jax
import jax.numpy as jnp
import numpy as np
import pytest

from n2uq_jax.quantizers import QArray
from n2uq_jax.quantizers.qarray import align, gradient_of


@pytest.mark.parametrize(
    ("codes", "expected"),
    [("int8", "float32"), ("float32", "float32"), ("bfloat16", "bfloat16"), ("float16", "float16")],
)
def test_dequantize(codes, expected):
    q = QArray(jnp.array([[0, 1], [2, 3]], codes), jnp.array([0.5, -2.0]), 3)
    y = q.dequantize()
    assert y.dtype == expected
    np.testing.assert_array_equal(y.astype(jnp.float32), [[0, -2], [1, -6]])
    assert (q.shape, q.ndim) == ((2, 2), 2)


def test_product_is_rounded_once():
    q = QArray(jnp.array([3], jnp.bfloat16), jnp.float32(0.333), 3)
    assert q.dequantize()[0] == jnp.bfloat16(np.float32(3) * np.float32(0.333))


def test_is_a_pytree():
    q = QArray(jnp.arange(6.0).reshape(3, 2), jnp.float32(0.5), 5)
    assert [leaf.shape for leaf in jax.tree.leaves(q)] == [(3, 2), ()]
    out = jax.jit(lambda q: q)(q)
    assert (type(out), out.max_code) == (QArray, 5)
    rows = jax.vmap(QArray.dequantize, in_axes=(QArray(0, None, 5),))(q)
    np.testing.assert_array_equal(rows, q.dequantize())


def test_gradients_flow_through_codes_and_scale():
    q = QArray(jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([0.5, 2.0]))
    gradient = jax.grad(lambda q: q.dequantize().sum())(q)
    np.testing.assert_array_equal(gradient.codes, [[0.5, 2], [0.5, 2]])
    np.testing.assert_array_equal(gradient.scale, [4, 6])


def test_align():
    assert align(jnp.ones(()), 3).shape == ()
    assert align(jnp.ones((5,)), 3).shape == (1, 1, 5)
    assert align(jnp.ones((5, 1, 1)), 3).shape == (5, 1, 1)


def test_gradient_of():
    gradient = jnp.array([1.0, 2.0])
    total = gradient_of(jnp.zeros((), jnp.bfloat16), gradient)
    assert (total, total.dtype) == (3, jnp.bfloat16)
    np.testing.assert_array_equal(gradient_of(jnp.zeros(2), gradient), gradient)
