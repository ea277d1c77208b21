import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, PartitionSpec

from n2uq_jax.quantizers import quantize_pact


def value(x, clip, bits):
    return quantize_pact(x, clip, bits).dequantize()


def test_exact_values_and_gradients():
    # Two bits and clip 1.5: codes step at 0.25, 0.75, 1.25, where halves go to the even code.
    x = jnp.array([-1.0, 0, 0.25, 0.3, 0.75, 1.25, 1.3, 1.5, 9, np.inf, -np.inf])
    codes = np.array([0, 0, 0, 1, 2, 2, 3, 3, 3, 3, 0])
    clip = jnp.float32(1.5)
    q = quantize_pact(x, clip, 2)
    np.testing.assert_array_equal(q.codes, codes)
    np.testing.assert_array_equal(q.dequantize(), codes / 2)
    assert q.max_code == 3

    dx, d_clip = jax.vmap(jax.grad(value, argnums=(0, 1)), (0, None, None))(x, clip, 2)
    np.testing.assert_allclose(dx, [0, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0], rtol=1e-6)
    saturated = np.array([0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0])
    np.testing.assert_allclose(d_clip, codes / 3 + saturated, rtol=1e-6)


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_against_stop_gradient(x64, bits):
    levels = 2**bits - 1

    def reference(x, clip):
        bounded = jnp.minimum(jax.nn.relu(x), clip)
        code = jnp.round(bounded * levels / clip)
        # The authors' form: the code is detached, the clipped value it replaces is not.
        return lax.stop_gradient(code) * clip / levels + bounded - lax.stop_gradient(bounded)

    x, g = jax.random.normal(jax.random.key(0), (2, 50), jnp.float64)
    out = jax.vjp(lambda x, clip: value(x, clip, bits), x, jnp.float64(0.7))
    expected = jax.vjp(reference, x, jnp.float64(0.7))
    np.testing.assert_allclose(out[0], expected[0], atol=1e-12)
    for a, e in zip(out[1](g), expected[1](g), strict=True):
        np.testing.assert_allclose(a, e, atol=1e-12)


def test_nan_and_dtypes():
    x = jnp.array([np.nan, 0.5], jnp.bfloat16)
    q = quantize_pact(x, jnp.ones((1,), jnp.bfloat16), 8)
    assert (q.codes.dtype, q.scale.dtype, q.scale.shape) == (jnp.bfloat16, jnp.float32, ())
    np.testing.assert_array_equal(q.codes.astype(jnp.float32), [np.nan, 128])
    assert quantize_pact(jnp.ones((0, 3)), 2.0, 4).shape == (0, 3)


@pytest.mark.parametrize("clip", [0.0, -0.5])
def test_a_clip_that_lets_nothing_pass_gives_zeros(clip):
    x = jnp.array([-1.0, 0, 0.5, 2, np.inf])
    q = quantize_pact(x, jnp.float32(clip), 2)
    np.testing.assert_array_equal(q.codes, np.zeros(5))
    np.testing.assert_array_equal(q.dequantize(), np.zeros(5))
    gradients = jax.vmap(jax.grad(value, argnums=(0, 1)), (0, None, None))(x, clip, 2)
    np.testing.assert_array_equal(gradients, np.zeros((2, 5)))
    assert np.isnan(quantize_pact(jnp.array([np.nan]), jnp.float32(clip), 2).codes).all()


@pytest.mark.slow
def test_shard_map():
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(AxisType.Auto,))
    x = jax.random.normal(jax.random.key(0), (16, 3))

    def loss(x, clip):
        return (value(x, clip, 4) ** 2).sum()

    total = jax.shard_map(
        lambda x, clip: lax.psum(loss(x, clip), "batch"),
        mesh=mesh,
        in_specs=(PartitionSpec("batch"), PartitionSpec()),
        out_specs=PartitionSpec(),
    )
    out = jax.grad(total, argnums=1)(x, jnp.float32(0.8))
    np.testing.assert_allclose(out, jax.grad(loss, argnums=1)(x, jnp.float32(0.8)), rtol=1e-5)


def test_barrier_in_evaluation_alone():
    x, clip = jnp.ones((3,)), jnp.float32(1)
    assert "optimization_barrier" in str(jax.make_jaxpr(lambda *a: value(*a, 2))(x, clip))
    training = jax.make_jaxpr(jax.grad(lambda *a: value(*a, 2).sum()))(x, clip)
    assert "optimization_barrier" not in str(training)


@pytest.mark.parametrize(
    ("x", "clip", "bits", "error", "message"),
    [
        (jnp.ones(3, jnp.int8), jnp.float32(1), 2, TypeError, "x must be a float.*int8"),
        (jnp.ones(3), jnp.ones(3), 2, ValueError, r"clip must have one element.*\(3,\)"),
        (jnp.ones(3), jnp.float32(1), 9, ValueError, "bits must be from 1 to 8, got 9"),
        (jnp.ones(3), jnp.float32(1), None, TypeError, "bits must be an int.*got None"),
    ],
)
def test_errors(x, clip, bits, error, message):
    with pytest.raises(error, match=message):
        quantize_pact(x, clip, bits)


def test_the_gradient_of_pacts_own_paper():
    x = jnp.array([-1.0, 0.3, 1.4, 1.5, 9, np.inf])
    gradients = jax.vmap(
        jax.grad(lambda x, clip: quantize_pact(x, clip, 2, detach_scale=True).dequantize(), (0, 1)),
        (0, None),
    )(x, jnp.float32(1.5))
    np.testing.assert_allclose(gradients[0], [0, 1, 1, 0, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(gradients[1], [0, 0, 0, 1, 1, 1], rtol=1e-6)
