import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from n2uq_jax.nn import RPReLU
from n2uq_jax.nn.integer import Grid, IntegerRPReLU, add, relu
from n2uq_jax.quantizers import QArray

CHANNELS = 30


def unkind_activation():
    """Slopes of both signs, zero and beyond 1; shifts up to the ends of the grid and beyond."""
    rng = np.random.default_rng(0)
    layer = IntegerRPReLU(CHANNELS, rngs=nnx.Rngs(0))
    slope = rng.normal(size=CHANNELS)
    slope[:3] = 0, -1, 3
    layer.slope[...] = jnp.float32(slope)
    layer.bias_in[...] = jnp.float32(rng.normal(size=CHANNELS) * 5)
    bias_out = rng.normal(size=CHANNELS) * 5
    bias_out[3:5] = 1e6, -1e6
    layer.bias_out[...] = jnp.float32(bias_out)
    return layer


def values(grid):
    """Every kind of sum of two values of the grid, with its ends."""
    n = grid.largest
    rng = np.random.default_rng(1)
    codes = rng.integers(-2 * n, 2 * n + 1, (400, CHANNELS))
    codes[:4] = np.array([-2 * n, 2 * n, 0, -1])[:, None]
    return codes


@pytest.mark.parametrize(("bits", "steps"), [(8, 1), (12, 1), (16, 10)])
def test_training_arithmetic_is_close_to_evaluation(bits, steps):
    layer, grid = unkind_activation(), Grid(bits)
    codes = values(grid)
    evaluated, trained = (
        layer(QArray(jnp.asarray(codes, d), grid.scale, 2 * grid.largest), grid)
        for d in (jnp.int32, jnp.float32)
    )
    assert evaluated.codes.dtype == jnp.int32
    distance = np.abs(np.asarray(evaluated.codes) - np.asarray(trained.codes))
    assert distance.max() <= steps  # 16 bits: the slope has 12 bits, values have 15
    assert np.abs(np.asarray(evaluated.codes)).max() == grid.largest


def test_training_is_the_float_activation_rounded():
    grid, layer = Grid(16), unkind_activation()
    codes = np.random.default_rng(2).integers(-8000, 8000, (200, CHANNELS))
    x = QArray(jnp.asarray(codes, jnp.float32), grid.scale, 2 * grid.largest)
    got = layer(x, grid).dequantize()
    real = RPReLU.__call__(layer, x.dequantize())
    inside = np.abs(np.asarray(real)) < 31
    worst = np.abs(np.asarray(got - real))[inside].max()
    assert inside.mean() > 0.8
    assert worst <= 3 * float(grid.scale)


def test_gradients_reach_values_and_parameters():
    layer, grid = IntegerRPReLU(2, rngs=nnx.Rngs(0)), Grid(16)
    weight = jnp.array([[1.0, 2.0], [3.0, 4.0]])

    def f(layer, x):
        q = QArray(x / grid.scale, grid.scale, 2 * grid.largest)
        return (layer(q, grid).dequantize() * weight).sum()

    x = jnp.array([[1.0, -2.0], [-4.0, 0.5]])
    grads, dx = nnx.grad(f, argnums=(0, 1))(layer, x)
    np.testing.assert_allclose(dx, [[1, 0.5], [0.75, 4]], rtol=1e-3)
    np.testing.assert_allclose(grads["slope"][...], [-12, -4], rtol=1e-3)
    np.testing.assert_allclose(grads["bias_in"][...], [1.75, 4.5], rtol=1e-3)
    np.testing.assert_allclose(grads["bias_out"][...], [4, 6], rtol=1e-3)


def test_exact_values():
    grid, layer = Grid(8), IntegerRPReLU(1, rngs=nnx.Rngs(0))
    grid.step[...] = jnp.float32(0.5)
    layer.bias_in[...] = jnp.float32([1.0])  # 2 steps
    layer.bias_out[...] = jnp.float32([-0.5])  # 1 step
    codes = jnp.array([[-100], [-12], [-8], [-3], [-2], [-1], [0], [126], [200]], jnp.int32)
    got = layer(QArray(codes, grid.scale, 254), grid).codes[:, 0]
    # u = n + 2; a quarter of it, halves up, where negative; minus 1; at most 127
    np.testing.assert_array_equal(got, [-25, -3, -2, -1, -1, 0, 1, 127, 127])


def test_sums_know_their_bound():
    a = QArray(jnp.array([3, -7]), jnp.float32(0.5), 7)
    total = add(a, a)
    np.testing.assert_array_equal(total.codes, [6, -14])
    assert total.max_code == 14
    assert total.scale is a.scale
    with pytest.raises(ValueError, match="max_code"):
        add(a, QArray(a.codes, a.scale))


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.float32])
def test_relu_and_relu6(dtype):
    x = QArray(jnp.array([-3, 0, 11, 12, 13, 40], dtype), jnp.float32(0.5), 40)
    np.testing.assert_array_equal(relu(x).codes, [0, 0, 11, 12, 13, 40])
    six = relu(x, 6.0)
    np.testing.assert_array_equal(six.codes, [0, 0, 11, 12, 12, 12])
    assert six.codes.dtype == dtype


def test_wrong_channels():
    layer = IntegerRPReLU(3, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="3 channels last"):
        layer(QArray(jnp.zeros((1, 2)), jnp.float32(1), 1), Grid(8))
    assert jax.tree.leaves(nnx.state(layer, nnx.Param))
