import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from n2uq_jax.quantizers import lsq_step, quantize_lsq, quantize_lsq_weight
from n2uq_jax.quantizers.lsq import lsq_range, scale_gradient


@functools.partial(jax.jit, static_argnums=2, static_argnames="signed")
def value(x, step, bits, signed=False):
    return quantize_lsq(x, step, bits, signed=signed).dequantize()


def test_exact_values_and_gradients():
    # Two bits and step 1/2: codes change at 1/4, 3/4 and 5/4, where halves go to the even code.
    x = jnp.array([-1.0, 0, 0.25, 0.3, 0.75, 1.25, 1.3, 1.5, 9, np.inf, -np.inf])
    codes = np.array([0, 0, 0, 1, 2, 2, 3, 3, 3, 3, 0])
    step = jnp.float32(0.5)
    q = quantize_lsq(x, step, 2)
    np.testing.assert_array_equal(q.codes, codes)
    np.testing.assert_array_equal(q.dequantize(), codes / 2)
    assert (q.max_code, q.scale.shape) == (3, ())

    gradients = jax.vmap(jax.grad(value, argnums=(0, 1)), (0, None, None))(x, step, 2)
    np.testing.assert_allclose(gradients[0], [0, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0], rtol=1e-6)
    # Inside k - x/s, outside k; all over the root of one value times Q_P = 3.
    inside = [0, 0, -0.5, 0.4, 0.5, -0.5, 0.4]
    by_hand = np.array([*inside, 3, 3, 3, 0]) / np.sqrt(3)
    np.testing.assert_allclose(gradients[1], by_hand, rtol=1e-5, atol=1e-6)


def test_signed_codes_and_the_gradient_scale_of_an_example():
    x = jnp.array([[-9.0, -1.0, -0.3, 0.2, 0.5, 2.0]])
    q = quantize_lsq(x, jnp.float32(0.5), 2, signed=True)
    np.testing.assert_array_equal(q.codes, [[-2, -2, -1, 0, 1, 1]])
    assert q.max_code == 2
    d_step = jax.grad(lambda s: value(x, s, 2, signed=True).sum())(jnp.float32(0.5))
    # -1 lies at -Q_N and 0.5 at Q_P: both count as outside. Six values, Q_P = 1.
    by_hand = (-2 - 2 + (-1 + 0.6) + (0 - 0.4) + 1 + 1) / np.sqrt(6)
    np.testing.assert_allclose(d_step, by_hand, rtol=1e-5)


@pytest.mark.parametrize(
    ("bits", "signed", "weights"),
    [(1, False, False), (4, False, False), (4, True, False), (2, True, True), (8, True, True)],
)
def test_against_the_papers_pseudocode(x64, bits, signed, weights):
    lowest, highest = lsq_range(bits, signed=signed)
    x, g = jax.random.normal(jax.random.key(0), (2, 5, 40), jnp.float64)

    @jax.jit
    def reference(x, step):
        scale = 1 / np.sqrt((x.size if weights else x.size // len(x)) * highest)
        step = step * scale + lax.stop_gradient(step - step * scale)
        clipped = jnp.clip(x / step, lowest, highest)
        return (clipped + lax.stop_gradient(jnp.round(clipped) - clipped)) * step

    @jax.jit
    def ours(x, step):
        if weights:
            return quantize_lsq_weight(x, step, bits).dequantize()
        return value(x, step, bits, signed=signed)

    step = jnp.float64(0.3)
    out, expected = jax.vjp(ours, x, step), jax.vjp(reference, x, step)
    np.testing.assert_allclose(out[0], expected[0], atol=1e-12)
    for a, e in zip(out[1](g), expected[1](g), strict=True):
        np.testing.assert_allclose(a, e, atol=1e-12)


def test_weights_have_one_step_for_all():
    kernel = jnp.array([[-3.0, 0.3], [0.74, 2.0]])
    q = quantize_lsq_weight(kernel, jnp.ones((1,)), 3)
    np.testing.assert_array_equal(q.codes, [[-3, 0], [1, 2]])
    assert (q.max_code, q.scale.shape) == (4, ())


def test_starting_values():
    values = jnp.array([[-1.0, 2.0], [3.0, -6.0]])
    # 2 <|v|> / sqrt(Q_P): of positive values alone where codes are unsigned.
    np.testing.assert_allclose(lsq_step(values, 2), 2 * (5 / 4) / np.sqrt(3), rtol=1e-6)
    np.testing.assert_allclose(lsq_step(values, 3, signed=True), 2 * 3 / np.sqrt(3), rtol=1e-6)
    np.testing.assert_allclose(lsq_step(values, 2, signed=True, axis=(1,)), [3, 9], rtol=1e-6)
    assert lsq_step(jnp.zeros(3), 2) == 1


@pytest.mark.parametrize("step", [0.0, -0.5])
def test_a_step_that_is_none_gives_zeros(step):
    x = jnp.array([-1.0, 0, 0.5, 2])
    np.testing.assert_array_equal(quantize_lsq(x, jnp.float32(step), 2).codes, np.zeros(4))
    np.testing.assert_array_equal(quantize_lsq_weight(x, jnp.float32(step), 2).codes, np.zeros(4))
    gradients = jax.grad(lambda *a: value(*a, 2).sum(), (0, 1))(x, jnp.float32(step))
    np.testing.assert_array_equal(gradients[0], np.zeros(4))
    assert gradients[1] == 0


def test_nan_and_dtypes():
    q = quantize_lsq(jnp.array([np.nan, 0.5], jnp.bfloat16), jnp.ones((1,), jnp.bfloat16) / 4, 8)
    assert (q.codes.dtype, q.scale.dtype, q.scale.shape) == (jnp.bfloat16, jnp.float32, ())
    np.testing.assert_array_equal(q.codes.astype(jnp.float32), [np.nan, 2])


def test_barrier_in_evaluation_alone():
    x, step = jnp.ones((3,)), jnp.float32(1)
    assert "optimization_barrier" in str(jax.make_jaxpr(lambda *a: value(*a, 2))(x, step))
    training = jax.make_jaxpr(jax.grad(lambda *a: value(*a, 2).sum()))(x, step)
    assert "optimization_barrier" not in str(training)


def test_a_scaled_gradient_leaves_the_value():
    x = jnp.float32(0.1)
    assert scale_gradient(x, 0.3) == x
    np.testing.assert_allclose(jax.grad(lambda x: 2 * scale_gradient(x, 0.25))(x), 0.5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: quantize_lsq(jnp.ones(3, int), jnp.ones(()), 2), TypeError, "x must be a float"),
        (lambda: quantize_lsq(jnp.ones(3), jnp.ones(3), 2), ValueError, r"step must.*\(3,\)"),
        (lambda: quantize_lsq(jnp.ones(3), jnp.ones(()), 9), ValueError, "bits must.*got 9"),
        (lambda: quantize_lsq_weight(jnp.ones(3), jnp.ones(()), 1), ValueError, "2 to 8.*got 1"),
        (lambda: quantize_lsq_weight(jnp.ones(3, int), jnp.ones(()), 2), TypeError, "kernel must"),
        (lambda: lsq_range(1, signed=True), ValueError, "bits must be from 2 to 8 for signed"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
