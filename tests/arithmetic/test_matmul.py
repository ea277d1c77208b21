import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from n2uq_jax.arithmetic import quantized_matmul
from n2uq_jax.quantizers import QArray


def codes(x_shape, out=5, bits=4, dtype=jnp.float32):
    rng, levels = np.random.default_rng(0), 2**bits - 1
    x = rng.integers(0, levels + 1, x_shape)
    w = 2 * rng.integers(0, levels + 1, (x_shape[-1], out)) - levels
    scale = jnp.asarray(rng.uniform(0.5, 1, out), jnp.float32)
    return (
        QArray(jnp.asarray(x, dtype), jnp.float32(0.25), levels),
        QArray(jnp.asarray(w, dtype), scale, levels),
    )


@pytest.mark.parametrize("shape", [(40,), (3, 40), (2, 3, 40), (0, 40)])
def test_every_arithmetic_gives_the_same_integers_and_gradients(shape):
    x, w = codes(shape)
    integers = np.asarray(x.codes, np.int64) @ np.asarray(w.codes, np.int64)
    scale = np.asarray(x.scale * w.scale)
    g = np.random.default_rng(1).normal(size=integers.shape).astype(np.float32)
    scaled_g = (g * scale).astype(np.float64)
    for operands in (None, "float32", "bfloat16", "int8", "int32"):
        y, pull = jax.vjp(functools.partial(quantized_matmul, operands=operands), x, w)
        np.testing.assert_array_equal(y, integers.astype(np.float32) * scale)
        dx, dw = pull(jnp.asarray(g))
        np.testing.assert_allclose(dx.codes, scaled_g @ w.codes.T, rtol=1e-4, atol=1e-4)
        flat_x, flat_g = x.codes.reshape(-1, 40), scaled_g.reshape(-1, 5)
        np.testing.assert_allclose(dw.codes, flat_x.T @ flat_g, rtol=1e-4, atol=1e-4)
        d_scale = (g * integers).reshape(-1, 5).sum(0)
        np.testing.assert_allclose(dw.scale, d_scale * x.scale, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(dx.scale, (d_scale * w.scale).sum(), rtol=1e-4, atol=1e-3)


def test_float64_codes_keep_float64_sums(x64):
    x, w = codes((2, 40), dtype=jnp.float64)
    assert quantized_matmul(x, w).dtype == jnp.float64


def test_weight_only():
    x, (_, w) = jnp.linspace(-1, 1, 80).reshape(2, 40), codes((2, 40))
    np.testing.assert_allclose(
        quantized_matmul(x, w), x @ w.dequantize(), rtol=1e-4, atol=1e-4
    )  # fmt: skip


@pytest.mark.parametrize(("x", "w"), [((), (3, 2)), ((2, 4), (3, 2)), ((2, 3), (3, 2, 1))])
def test_errors(x, w):
    arguments = [QArray(jnp.ones(shape), jnp.float32(1), 3) for shape in (x, w)]
    with pytest.raises(ValueError, match=r"x must have shape \(\.\.\., in\) and w \(in, out\)"):
        quantized_matmul(*arguments)
