import jax
import jax.numpy as jnp
import numpy as np
import pytest

from n2uq_jax.quantizers import quantize_dorefa, quantize_dorefa_weight


def test_activations_by_hand():
    # Two bits: levels 0, 1/3, 2/3, 1; codes change at 1/6, 1/2 and 5/6.
    x = jnp.array([-1.0, 0, 0.1, 0.2, 0.6, 0.9, 1, 7, np.nan])
    q = quantize_dorefa(x, 2)
    np.testing.assert_array_equal(q.codes, [0, 0, 0, 1, 2, 3, 3, 3, np.nan])
    np.testing.assert_allclose(q.scale, 1 / 3, rtol=1e-6)
    dx = jax.grad(lambda x: quantize_dorefa(x, 2).dequantize().sum())(x[:-1])
    np.testing.assert_allclose(dx, [0, 0, 1, 1, 1, 1, 0, 0], rtol=1e-6)


def test_weights_by_hand():
    # tanh gives 1/2 and 1 of the largest, so steps of 0, 3/4, 3/2 -> 2, 9/4 and 3.
    unit = np.array([-1, -0.5, 0, 0.5, 1])
    kernel = jnp.asarray(np.arctanh(unit * 0.8), jnp.float32)
    q = quantize_dorefa_weight(kernel, 2)
    np.testing.assert_array_equal(q.codes, [-3, -1, 1, 1, 3])
    np.testing.assert_allclose(q.dequantize(), np.array([-3, -1, 1, 1, 3]) / 3, rtol=1e-6)
    assert (q.max_code, q.scale.shape) == (3, ())


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_weights_against_numpy(x64, bits):
    levels = 2**bits - 1
    kernel, g = jax.random.normal(jax.random.key(0), (2, 3, 3, 4, 5), jnp.float64)
    out, pull = jax.vjp(jax.jit(lambda w: quantize_dorefa_weight(w, bits).dequantize()), kernel)
    w, g = np.asarray(kernel), np.asarray(g)
    squashed = np.tanh(w)
    largest = np.abs(squashed).max()
    unit = squashed / (2 * largest) + 0.5
    np.testing.assert_allclose(out, 2 * np.round(levels * unit) / levels - 1, atol=1e-12)
    # The derivative of tanh(w) / max|tanh(w)|, where the largest weight moves all others.
    d_squashed = g / largest
    top = np.unravel_index(np.abs(squashed).argmax(), squashed.shape)
    d_squashed[top] -= np.sign(squashed[top]) * (g * squashed).sum() / largest**2
    np.testing.assert_allclose(pull(jnp.asarray(g))[0], d_squashed * (1 - squashed**2), atol=1e-12)


def test_a_kernel_of_zeros_has_finite_codes_and_gradients():
    kernel = jnp.zeros((2, 3))
    assert np.isin(quantize_dorefa_weight(kernel, 2).codes, [-1, 1]).all()
    gradient = jax.jit(jax.grad(lambda w: quantize_dorefa_weight(w, 2).dequantize().sum()))(kernel)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: quantize_dorefa_weight(jnp.ones(3), 1), ValueError, "from 2 to 8.*got 1"),
        (lambda: quantize_dorefa_weight(jnp.ones(3), 9), ValueError, "bits must be.*got 9"),
        (lambda: quantize_dorefa_weight(jnp.ones(3, int), 2), TypeError, "kernel must be a float"),
        (lambda: quantize_dorefa(jnp.ones(3, int), 2), TypeError, "x must be a float"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
