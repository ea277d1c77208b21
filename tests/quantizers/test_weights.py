import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from n2uq_jax.quantizers import quantize_weight

GOLDEN = np.load(Path(__file__).parents[1] / "data" / "weight.npz")
CASES = sorted({tuple(key.split(".")[:2]) for key in GOLDEN.files})


@functools.partial(jax.jit, static_argnums=1, static_argnames="axis")
def values_and_gradient(kernel, bits, g, **kwargs):
    y, pull = jax.vjp(lambda w: quantize_weight(w, bits, **kwargs).dequantize(), kernel)
    return y, pull(g)[0]


@pytest.mark.parametrize(("bits", "case"), CASES)
def test_golden(x64, bits, case):
    oihw = [jnp.asarray(GOLDEN[f"{bits}.{case}.{name}"]) for name in ("w", "g", "wq", "dw")]
    for order, kwargs in (((0, 1, 2, 3), {"axis": 0}), ((2, 3, 1, 0), {})):
        w, g, wq, dw = (v.transpose(order) for v in oihw)
        y, gradient = values_and_gradient(w, int(bits[1:]), g, **kwargs)
        np.testing.assert_allclose(y, wq, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(gradient, dw, rtol=1e-12, atol=1e-12)


def test_exact_values_ties_and_clipping():
    # Two bits: sigma is 1.5 mean|W| = 1.5, and W / sigma is 1/2, -1/2, 0 and 5/3.
    kernel = jnp.array([[0.75, -0.75, 0.0, 2.5]]).T
    q = quantize_weight(kernel, 2)
    # 0 lies between codes -1 and 1: m = 1.5 goes to the even 2.
    np.testing.assert_array_equal(q.codes[:, 0], [1, -1, 1, 3])
    np.testing.assert_array_equal(q.scale, [0.5])
    assert q.max_code == 3
    # The value beyond the clip gets the same gradient as all others: g / sigma.
    g = jnp.array([[3.0, 6.0, -3.0, 1.5]]).T
    _, gradient = values_and_gradient(kernel, 2, g)
    np.testing.assert_allclose(gradient[:, 0], [2, 4, -2, 1], rtol=1e-6)


def test_one_bit_is_the_sign_scaled_by_the_mean():
    kernel = jnp.array([[0.5, -1.0], [-1.5, 3.0]])
    q = quantize_weight(kernel, 1)
    np.testing.assert_array_equal(q.codes, [[1, -1], [-1, 1]])
    np.testing.assert_array_equal(q.scale, [1.0, 2.0])


@pytest.mark.parametrize("bits", range(1, 9))
def test_codes_are_odd_and_within_range(bits):
    q = quantize_weight(jax.random.normal(jax.random.key(0), (50, 8)), bits)
    levels = 2**bits - 1
    assert set(np.unique(q.codes)) <= set(range(-levels, levels + 1, 2))
    assert np.abs(q.codes).max() == levels
    assert (q.shape, q.scale.shape) == ((50, 8), (8,))


@pytest.mark.parametrize("value", [0.0, 1e-20, 1e20])
def test_extreme_channels(value):
    kernel = jnp.stack([jnp.full(4, value), jnp.array([1.0, -1, 2, 0])], axis=-1)
    y, gradient = values_and_gradient(kernel, 2, jnp.ones((4, 2)))
    np.testing.assert_allclose(y[:, 0], value / 2 * 1.0, rtol=1e-6)  # code 1 of 3, sigma 1.5
    expected = 0 if value == 0 else 1 / (1.5 * value)
    np.testing.assert_allclose(gradient[:, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(gradient[:, 1], 1 / 1.5, rtol=1e-6)


def test_nan_stays_in_its_channel():
    q = quantize_weight(jnp.array([[np.nan, 1.0], [1.0, -1.0]]), 2)
    np.testing.assert_array_equal(np.isnan(q.dequantize()), [[True, False], [True, False]])


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_scale_is_float32_or_wider(dtype):
    kernel = jax.random.normal(jax.random.key(0), (3, 3, 16, 4)).astype(dtype)
    q = quantize_weight(kernel, 8)
    assert q.codes.dtype == dtype
    assert q.scale.dtype == jnp.float32
    wide = quantize_weight(kernel.astype(jnp.float32), 8)
    np.testing.assert_array_equal(q.codes.astype(jnp.float32), wide.codes)
    np.testing.assert_array_equal(q.scale, wide.scale)


def test_jit_and_vmap():
    kernels = jax.random.normal(jax.random.key(0), (3, 5, 4))
    gradient = jax.grad(lambda w: (quantize_weight(w, 3).dequantize() ** 2).sum())
    expected = jnp.stack([gradient(w) for w in kernels])
    np.testing.assert_allclose(jax.jit(jax.vmap(gradient))(kernels), expected, rtol=1e-5)
    codes = jax.vmap(lambda w: quantize_weight(w, 3).codes)(kernels)
    np.testing.assert_array_equal(codes[1], quantize_weight(kernels[1], 3).codes)


@pytest.mark.parametrize(
    ("shape", "dtype", "bits", "axis", "error", "message"),
    [
        ((2, 3), "float32", 0, -1, ValueError, "bits must be from 1 to 8, got 0"),
        ((2, 3), "float32", 9, -1, ValueError, "bits must be from 1 to 8, got 9"),
        ((2, 3), "float32", 2.0, -1, TypeError, "bits must be an int from 1 to 8, got 2.0"),
        ((2, 3), "float32", True, -1, TypeError, "bits must be an int from 1 to 8, got True"),
        ((2, 3), "int32", 2, -1, TypeError, "kernel must be a float array, got dtype int32"),
        ((2, 3), "float32", 2, 2, ValueError, r"axis must be an axis .*\(2, 3\), got 2"),
        ((), "float32", 2, -1, ValueError, r"axis must be an axis .*\(\), got -1"),
    ],
)
def test_errors(shape, dtype, bits, axis, error, message):
    with pytest.raises(error, match=message):
        quantize_weight(jnp.ones(shape, dtype), bits, axis=axis)


def test_without_the_entropy_preserving_scale_the_largest_weight_sets_the_range():
    kernel = jnp.array([[-4.0, 1.0], [-1.2, 0.1], [1.4, 0.0]])
    q = quantize_weight(kernel, 2, entropy_preserving=False)
    np.testing.assert_allclose(q.scale, np.float32([4, 1]) / 3)
    np.testing.assert_array_equal(q.codes, [[-3, 3], [-1, 1], [1, 1]])
    gradient = jax.grad(
        lambda w: quantize_weight(w, 2, entropy_preserving=False).dequantize().sum()
    )(kernel)
    np.testing.assert_allclose(gradient, np.ones((3, 1)) / np.float32([[4, 1]]), rtol=1e-6)
