import jax
import jax.numpy as jnp
import numpy as np
import pytest

from n2uq_jax.nn.integer import Grid
from n2uq_jax.quantizers import QArray


def grid(bits=4, step=0.5, **kwargs):
    g = Grid(bits, **kwargs)
    g.step[...] = jnp.float32(step)
    return g


def test_rounds_halves_up_and_saturates():
    x = jnp.array([-9.0, -3.5, -0.26, -0.25, 0.0, 0.24, 0.25, 1.0, 3.4, 9.0])
    q = grid().round(x)
    np.testing.assert_array_equal(q.codes, [-7, -7, -1, 0, 0, 0, 1, 2, 7, 7])
    assert q.max_code == 7
    assert float(q.scale) == 0.5
    q = grid(signed=False).round(x)
    np.testing.assert_array_equal(q.codes, [0, 0, 0, 0, 0, 0, 1, 2, 7, 15])


def test_gradient_is_one_inside_and_zero_outside():
    x = jnp.array([-9.0, -3.4, 0.1, 3.4, 9.0])
    grad = jax.grad(lambda x: grid().round(x).dequantize().sum())(x)
    np.testing.assert_array_equal(grad, [0, 1, 1, 1, 0])


def test_rounded_values_are_integers_in_16_bits():
    x = jax.random.uniform(jax.random.key(0), (20000,), minval=-40, maxval=40)
    codes = np.asarray(Grid(16).round(x).codes)
    assert (codes == np.round(codes)).all()
    assert np.abs(codes).max() == 32767


def test_bfloat16_values_are_rounded_in_float32():
    q = Grid(16).round(jnp.array([0.3, 7.0], jnp.bfloat16))
    step = 32 / 32767
    assert q.codes.dtype == jnp.float32
    np.testing.assert_array_equal(q.codes, np.floor(np.float32([0.30078125, 7]) / step + 0.5))


def test_integers_move_to_another_grid_as_floats_do():
    g = grid(8, 0.01)
    values = np.arange(-3000, 3001, 7)
    ints = g.requantize(QArray(jnp.asarray(values, jnp.int32), jnp.float32(0.0007), 3000))
    floats = g.requantize(QArray(jnp.asarray(values, jnp.float32), jnp.float32(0.0007), 3000))
    assert ints.codes.dtype == jnp.int32
    assert ints.max_code == 127
    assert np.abs(np.asarray(ints.codes) - np.asarray(floats.codes)).max() <= 1
    assert (np.asarray(ints.codes) != np.asarray(floats.codes)).mean() < 0.01
    assert ints.codes.max() == 127
    assert ints.codes.min() == -127


@pytest.mark.parametrize("bits", [1, 17, 8.0, True])
def test_bits_out_of_range(bits):
    with pytest.raises(ValueError, match="2 to 16"):
        Grid(bits)


def test_codes_without_a_bound_are_refused():
    codes = QArray(jnp.zeros((2, 3), jnp.int32), jnp.float32(1))
    with pytest.raises(ValueError, match="max_code"):
        grid().requantize(codes)
