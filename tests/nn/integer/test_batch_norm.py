import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from n2uq_jax.nn.integer import Grid, IntegerBatchNorm
from n2uq_jax.quantizers import QArray

LARGEST = 3 * 3 * 1152
CHANNELS = 40


def unkind_norm(rng, **kwargs):
    """Gains of both signs, a zero, and a variance that is almost none."""
    norm = IntegerBatchNorm(CHANNELS, rngs=nnx.Rngs(0), **kwargs)
    scale = rng.normal(size=CHANNELS)
    scale[0], scale[1] = 0, -3
    norm.scale[...] = jnp.float32(scale)
    norm.bias[...] = jnp.float32(rng.normal(size=CHANNELS))
    norm.mean[...] = jnp.float32(rng.normal(size=CHANNELS))
    norm.var[...] = jnp.float32(rng.uniform(1e-6, 4, CHANNELS))
    return norm


def sums(rng, dtype):
    codes = rng.integers(-LARGEST, LARGEST + 1, (500, CHANNELS))
    codes[:300] //= 64  # most sums are far from the bound
    scale = jnp.float32(rng.uniform(0.5e-3, 2e-3, CHANNELS))
    return QArray(jnp.asarray(codes, dtype), scale, LARGEST)


@pytest.mark.parametrize(("bits", "steps"), [(8, 1), (12, 2), (16, 5)])
def test_training_arithmetic_with_running_statistics_is_close_to_evaluation(bits, steps):
    rng = np.random.default_rng(bits)
    norm, grid = unkind_norm(rng), Grid(bits)
    integers, floats = (sums(np.random.default_rng(1), d) for d in (jnp.int32, jnp.float32))
    norm.eval()
    evaluated = norm(integers, grid)
    norm.set_attributes(deterministic=False)
    trained = norm(floats, grid)
    assert evaluated.codes.dtype == jnp.int32
    assert trained.codes.dtype == jnp.float32
    assert evaluated.max_code == trained.max_code == 2 ** (bits - 1) - 1
    distance = np.abs(np.asarray(evaluated.codes) - np.asarray(trained.codes))
    assert distance.max() <= steps
    assert np.ptp(np.asarray(evaluated.codes)) > 2 ** (bits - 2)  # much of the grid is used


def test_training_uses_the_statistics_of_the_batch():
    rng = np.random.default_rng(0)
    norm = IntegerBatchNorm(CHANNELS, rngs=nnx.Rngs(0))
    y = norm(sums(rng, jnp.float32), Grid(16)).dequantize()
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(y.std(0), 1, atol=1e-2)
    assert float(jnp.abs(norm.mean[...]).max()) > 0


def test_gradients_are_those_of_float_batch_norm_inside_of_the_grid():
    norm = IntegerBatchNorm(3, rngs=nnx.Rngs(0))
    codes = jax.random.normal(jax.random.key(0), (50, 3)) * 10
    weight = jax.random.normal(jax.random.key(1), (50, 3))
    scale = jnp.float32([0.1, 0.2, 0.3])

    def through_grid(norm, codes):
        return (norm(QArray(codes, scale, 100), Grid(16)).dequantize() * weight).sum()

    def plain(norm, codes):
        return (nnx.BatchNorm.__call__(norm, codes * scale[None]) * weight).sum()

    got = nnx.grad(through_grid, argnums=(0, 1))(norm, codes)
    want = nnx.grad(plain, argnums=(0, 1))(norm, codes)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_the_other_kind_of_sums_is_refused():
    norm = IntegerBatchNorm(CHANNELS, rngs=nnx.Rngs(0))
    with pytest.raises(TypeError, match="must be float where deterministic=False, got int32"):
        norm(sums(np.random.default_rng(0), jnp.int32), Grid(16))
    norm.eval()
    with pytest.raises(TypeError, match="must be int32 where deterministic=True, got float32"):
        norm(sums(np.random.default_rng(0), jnp.float32), Grid(16))


def test_layers_without_scale_and_bias():
    norm = IntegerBatchNorm(2, use_scale=False, use_bias=False, epsilon=0.0, rngs=nnx.Rngs(0))
    norm.mean[...] = jnp.float32([1, 0])
    norm.eval()
    grid = Grid(16)
    grid.step[...] = jnp.float32(0.25)
    codes = norm(QArray(jnp.array([[4, 4]], jnp.int32), jnp.float32([0.5, 1]), 9), grid).codes
    np.testing.assert_array_equal(codes, [[4, 16]])
