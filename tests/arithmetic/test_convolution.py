"""Convolutions of codes against NumPy's integers and against convolutions of real values."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from n2uq_jax.arithmetic import quantized_conv
from n2uq_jax.quantizers import QArray

# name: (input, window, arguments)
CASES = {
    "same": ((2, 7, 6, 4), (3, 3, 4, 5), {"padding": "SAME"}),
    "valid_strides": ((2, 7, 6, 4), (3, 2, 4, 5), {"padding": "VALID", "strides": (2, 1)}),
    "pairs": ((1, 5, 5, 3), (3, 3, 3, 2), {"padding": [(1, 2), (0, 1)], "strides": (2, 2)}),
    "groups": ((2, 5, 5, 6), (3, 3, 2, 9), {"padding": "SAME", "groups": 3}),
    "depthwise": ((2, 5, 5, 6), (3, 3, 1, 6), {"padding": "SAME", "groups": 6}),
    "dilated_kernel": ((1, 9, 9, 3), (3, 3, 3, 2), {"padding": "SAME", "kernel_dilation": (2, 3)}),
    "dilated_input": (
        (1, 4, 5, 3), (3, 3, 3, 2), {"padding": [(2, 2), (2, 2)], "input_dilation": (2, 3)}
    ),
    "1d": ((3, 9, 4), (3, 4, 5), {"padding": "SAME", "strides": (2,)}),
    "3d": ((1, 3, 4, 5, 2), (2, 2, 2, 2, 3), {"padding": "SAME"}),
}  # fmt: skip


def codes(case, bits=4, dtype=jnp.float32):
    """Random codes and scales: x of levels 0 .. N, w of odd integers."""
    x_shape, w_shape, arguments = CASES[case]
    rng, levels = np.random.default_rng(0), 2**bits - 1
    x = QArray(jnp.asarray(rng.integers(0, levels + 1, x_shape), dtype), jnp.float32(0.3), levels)
    w = QArray(
        jnp.asarray(2 * rng.integers(0, levels + 1, w_shape) - levels, dtype),
        jnp.asarray(rng.uniform(0.5, 1, w_shape[-1:]), jnp.float32),
        levels,
    )
    return x, w, {"strides": (1,) * (len(x_shape) - 2), **arguments}


def real_convolution(
    x, w, *, strides, padding, groups=1, input_dilation=None, kernel_dilation=None
):
    spatial = "DHW"[2 - len(x.shape) :]
    return lax.conv_general_dilated(
        x, w, strides, padding, input_dilation, kernel_dilation,
        (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"), feature_group_count=groups,
    )  # fmt: skip


def jitted(convolve):
    """Returns a function of (x, w, g): the convolution and its gradients."""

    @jax.jit
    def run(x, w, g):
        y, pull = jax.vjp(convolve, x, w)
        return y, *pull(g)

    return run


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_those_of_real_convolutions(x64, case):
    x, w, arguments = codes(case)

    def reference(x, w):
        # Codes are real numbers here: the straight-through view of a convolution of integers.
        x, w = jax.tree.map(lambda v: v.astype(jnp.float64), (x, w))
        return real_convolution(x.dequantize(), w.dequantize(), **arguments)

    g = jax.random.normal(jax.random.key(0), jax.eval_shape(reference, x, w).shape)
    expected = jitted(reference)(x, w, g)
    actual = jitted(functools.partial(quantized_conv, **arguments))(x, w, g.astype(jnp.float32))
    for a, e in zip(*map(jax.tree.leaves, (actual, expected)), strict=True):
        assert a.shape == e.shape
        np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("case", CASES)
def test_every_arithmetic_gives_the_same_integers_and_gradients(x64, case):
    x, w, arguments = codes(case)
    integers = real_convolution(x.codes.astype(jnp.int64), w.codes.astype(jnp.int64), **arguments)
    g = jax.random.normal(jax.random.key(1), integers.shape, jnp.float32)
    results = {
        operands: jitted(functools.partial(quantized_conv, operands=operands, **arguments))(x, w, g)
        for operands in (None, "bfloat16", "int8")
    }
    scale = x.scale * w.scale
    expected = integers.astype(jnp.float32) * scale.reshape((1,) * (integers.ndim - 1) + (-1,))
    np.testing.assert_array_equal(results[None][0], expected)
    for result in results.values():
        for a, b in zip(jax.tree.leaves(result), jax.tree.leaves(results[None]), strict=True):
            np.testing.assert_array_equal(a, b)


def test_against_numpy_integers():
    x, w, _ = codes("same")
    x_np, w_np = np.asarray(x.codes, np.int64), np.asarray(w.codes, np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(x_np, (3, 3), (1, 2))
    expected = np.einsum("bijchw,hwco->bijo", windows, w_np)
    ones = [QArray(q.codes, jnp.float32(1), q.max_code) for q in (x, w)]
    y = quantized_conv(*ones, strides=(1, 1), padding="VALID")
    np.testing.assert_array_equal(y, expected)
    assert np.abs(expected).max() > 256  # beyond bfloat16's integers: sums are wider than operands


def test_bfloat16_codes_give_float32_sums():
    x, w, arguments = codes("same", dtype=jnp.bfloat16)
    wide_x, wide_w, _ = codes("same")
    y = quantized_conv(x, w, **arguments)
    assert y.dtype == jnp.float32
    np.testing.assert_array_equal(y, quantized_conv(wide_x, wide_w, **arguments))
    gradient = jax.grad(lambda x: quantized_conv(x, w, **arguments).sum(), allow_int=True)(x)
    assert (gradient.codes.dtype, gradient.scale.dtype) == (jnp.bfloat16, jnp.float32)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_sums_beyond_float32_are_collected_in_int32(dtype):
    # The exact sum, 270 * 255 * 255 + 1 - 255, is odd and beyond 2^24.
    x = QArray(jnp.full((1, 1, 271), 255, dtype).at[0, 0, 0].set(1), jnp.float32(1), 255)
    w = QArray(jnp.full((1, 271, 1), 255, dtype).at[0, 0, 0].set(1), jnp.float32(1), 255)
    y = quantized_conv(x, w, strides=(1,), padding="VALID")
    exact = 270 * 255 * 255 + 1
    assert exact > 2**24
    assert y[0, 0, 0] == np.float32(exact)
    text = str(jax.make_jaxpr(lambda x: quantized_conv(x, w, strides=(1,), padding="VALID"))(x))
    assert "preferred_element_type=int32" in text
    with pytest.raises(ValueError, match="operands='float32' is not exact for 271 products"):
        quantized_conv(x, w, strides=(1,), padding="VALID", operands="float32")


@pytest.mark.parametrize("as_array", [np.asarray, jnp.asarray])
def test_weight_only(as_array):
    _, w, arguments = codes("same")
    x = as_array(np.random.default_rng(1).normal(size=(2, 7, 6, 4)).astype(np.float32))
    y = quantized_conv(x, w, **arguments)
    np.testing.assert_allclose(y, real_convolution(x, w.dequantize(), **arguments), 1e-4, 1e-3)
    with pytest.raises(ValueError, match="operands='int8' wants codes"):
        quantized_conv(x, w, operands="int8", **arguments)


def test_vmap_over_networks():
    x, w, arguments = codes("same")
    several = QArray(jnp.stack([w.codes, -w.codes]), jnp.stack([w.scale, w.scale]), w.max_code)

    def loss(x, w):
        return (quantized_conv(x, w, **arguments) ** 2).sum()

    out = jax.jit(jax.vmap(jax.grad(loss, argnums=1), (None, 0)))(x, several)
    expected = jax.grad(loss, argnums=1)(x, w)
    np.testing.assert_allclose(out.codes[0], expected.codes, rtol=1e-4)
    np.testing.assert_allclose(out.codes[1], -expected.codes, rtol=1e-4)


@pytest.mark.parametrize(
    ("x", "w", "message"),
    [
        (((1, 4, 4, 3), ()), ((3, 3, 3), (3,)), r"same 1 to 3 spatial axes; got \(1, 4, 4, 3\)"),
        (((4, 3), ()), ((3, 2), (2,)), "1 to 3 spatial axes"),
        (((1, 4, 3), ()), ((3, 2, 2), (2,)), r"x has 3 channels.*groups=1 expects 2"),
        (((1, 4, 3), (3,)), ((3, 3, 2), (2,)), r"x must have one scale, of shape \(\).*\(3,\)"),
        (((1, 4, 3), ()), ((3, 3, 2), (2, 1, 1)), r"w must have a scale of shape.*\(2, 1, 1\)"),
    ],
)
def test_errors(x, w, message):
    x, w = (QArray(jnp.ones(shape), jnp.ones(scale), 3) for shape, scale in (x, w))
    with pytest.raises(ValueError, match=message):
        quantized_conv(x, w, strides=(1,) * (x.ndim - 2), padding="VALID")
