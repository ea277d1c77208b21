"""The activation quantizer against golden vectors, a stop_gradient reference and exact values."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from n2uq_jax.quantizers import (
    MIN_INTERVAL,
    effective_intervals,
    knots,
    quantize_activation,
    thresholds,
)

GOLDEN = np.load(Path(__file__).parents[1] / "data" / "activation.npz")
PARAMETERS = ("start", "intervals", "in_scale", "out_scale")
EVERYTHING = range(5)


def initial(bits, channels=None, dtype=jnp.float32):
    """Initial parameters, in the order of the arguments of quantize_activation."""
    shape = () if channels is None else (channels,)
    n = 2**bits - 1
    one = jnp.ones(shape, dtype)
    return 0 * one, jnp.full((n, *shape), 2 / n, dtype), one, jnp.ones((), dtype)


def normal(shape, dtype=jnp.float32, seed=0):
    return jax.random.normal(jax.random.key(seed), shape, dtype) + 1


def loss(x, *parameters, signed=False):
    return (quantize_activation(x, *parameters, signed=signed).dequantize() ** 2).sum()


gradients = jax.jit(jax.grad(loss, argnums=EVERYTHING))


@jax.jit
def codes_gradients(x, *parameters, g=None):
    """Codes, and the cotangents of x, start, intervals and in_scale for g (ones)."""
    codes, pull = jax.vjp(
        lambda x, *p: quantize_activation(x, *p, parameters[3]).codes, x, *parameters[:3]
    )
    return codes, *pull(jnp.ones_like(codes) if g is None else g)


def assert_trees_close(actual, expected, rtol=1e-5, atol=1e-5):
    for a, e in zip(actual, expected, strict=True):
        assert a.shape == e.shape
        np.testing.assert_allclose(a, e, rtol, atol)


@functools.partial(jax.jit, static_argnums=(0, 1))
def pull_both(signed, quantizer, g, *args):
    """The output and the gradients of the quantizer or of the reference."""
    y, pull = jax.vjp(
        lambda *args: (
            quantize_activation(*args, signed=signed).dequantize()
            if quantizer
            else reference(*args, signed)
        ),
        *args,
    )
    return y, *pull(g)


@pytest.mark.parametrize("case", range(4))
@pytest.mark.parametrize("bits", range(1, 5))
def test_golden(x64, bits, case):
    golden = {
        name: jnp.asarray(GOLDEN[f"b{bits}.c{case}.{name}"])
        for name in ("x", *PARAMETERS, "y", "g", "dx", *(f"d{p}" for p in PARAMETERS))
    }
    names = ("x", *PARAMETERS)
    y, *out = pull_both(False, True, golden["g"], *(golden[name] for name in names))
    np.testing.assert_allclose(y, golden["y"], rtol=0, atol=1e-12)
    for name, value in zip(names, out, strict=True):
        np.testing.assert_allclose(value, golden[f"d{name}"], 1e-12, 1e-12, err_msg=name)


def reference(x, start, intervals, in_scale, out_scale, signed):
    """The G-STE written with stop_gradient: x is (rows, channels)."""
    levels = intervals.shape[0]
    a = jnp.where(intervals > MIN_INTERVAL, intervals, MIN_INTERVAL).reshape(levels, 1, -1)
    right = start.reshape(1, 1, -1) + jnp.cumsum(a, axis=0)
    left = right - a
    u = (in_scale.reshape(1, -1) * x)[None]
    hard = (u > (left + right) / 2).sum(0).astype(x.dtype)
    curve = jnp.clip((u - left) / a, 0, 1).sum(0)
    k = curve + lax.stop_gradient(hard - curve)
    return out_scale * (2 * k - levels if signed else 2 * k) / levels


@pytest.mark.parametrize(
    ("bits", "signed", "channels"),
    [
        (1, False, None),
        (2, True, None),
        (3, True, 5),
        (4, False, None),
        pytest.param(8, False, None, marks=pytest.mark.slow),
    ],
)
@settings(deadline=None, max_examples=8, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_against_stop_gradient(bits, signed, channels, seed):
    with jax.enable_x64(True):
        rng = np.random.default_rng(seed)
        levels, shape = 2**bits - 1, () if channels is None else (channels,)
        # Wide enough that inputs fall on both sides; about a tenth of the intervals is too small.
        intervals = 2 / levels * rng.uniform(-0.2, 2, (levels, *shape))
        args = [
            jnp.asarray(v)
            for v in (
                rng.normal(0.5, 1.5, (40, 5)),
                rng.normal(0, 0.5, shape),
                intervals,
                rng.choice([-1, 1], shape) * rng.uniform(0.5, 2, shape),
                rng.normal(0, 1, ()),
            )
        ]
        g = jnp.asarray(rng.normal(0, 1, (40, 5)))
        assert_trees_close(
            pull_both(signed, True, g, *args), pull_both(signed, False, g, *args), 1e-9, 1e-9
        )


# Knots 1, 1.5, 2.5, 4.5, thresholds 1.25, 2, 3.5 and slopes 2, 1, 1/2: exact in every dtype.
KNOTS, THRESHOLDS = np.array([1, 1.5, 2.5, 4.5]), np.array([1.25, 2, 3.5])


def exact_parameters(dtype, in_scale=1.0):
    values = (1.0, [0.5, 1.0, 2.0], in_scale, 1.5)
    return [jnp.asarray(v, jnp.promote_types(dtype, jnp.float32)) for v in values]


@pytest.mark.parametrize("in_scale", [1.0, 0.5, -2.0])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_exact_values_at_thresholds_and_knots(x64, dtype, in_scale):
    parameters = exact_parameters(dtype, in_scale)
    x = jnp.asarray(THRESHOLDS / in_scale, dtype)
    away = jnp.asarray(np.sign(in_scale) * np.inf, dtype)
    at, above, below = (codes_gradients(v, *parameters)[0] for v in (
        x, jnp.nextafter(x, away), jnp.nextafter(x, -away)
    ))  # fmt: skip
    np.testing.assert_array_equal(at, [0, 1, 2])
    np.testing.assert_array_equal(above, [1, 2, 3])
    np.testing.assert_array_equal(below, [0, 1, 2])
    assert at.dtype == dtype

    x = jnp.asarray(KNOTS / in_scale, dtype)
    _, dx, d_start, d_intervals, d_in_scale = codes_gradients(x, *parameters)
    np.testing.assert_array_equal(dx, in_scale * np.array([0, 2, 1, 0.5]))
    assert d_start == -3.5
    np.testing.assert_array_equal(d_intervals, [-3.5, -1.5, -0.5])
    assert d_in_scale == (2 * 1.5 + 2.5 + 4.5 / 2) / in_scale
    above = codes_gradients(jnp.nextafter(x, away), *parameters)[1]
    np.testing.assert_array_equal(above, in_scale * np.array([2, 1, 0.5, 0]))


def test_levels():
    x = jnp.array([0.0, 1.3, 2.2, 9.0])
    parameters = exact_parameters(jnp.float32)
    q = quantize_activation(x, *parameters)
    np.testing.assert_array_equal(q.dequantize(), [0, 1, 2, 3])
    signed = quantize_activation(x, *parameters, signed=True)
    np.testing.assert_array_equal(signed.codes, [-3, -1, 1, 3])
    np.testing.assert_array_equal(signed.dequantize(), [-1.5, -0.5, 0.5, 1.5])
    assert q.max_code == signed.max_code == 3
    assert q.scale.shape == ()


@pytest.mark.parametrize("bits", [1, pytest.param(8, marks=pytest.mark.slow)])
def test_outermost_codes(bits):
    quantize, levels = jax.jit(quantize_activation, static_argnames="signed"), 2**bits - 1
    for dtype, signed in ((jnp.float16, False), (jnp.bfloat16, False), (jnp.bfloat16, True)):
        codes = quantize(jnp.asarray([-5, 5], dtype), *initial(bits), signed=signed).codes
        assert codes.dtype == dtype
        lowest = -levels if signed else 0
        np.testing.assert_array_equal(codes.astype(jnp.float32), [lowest, levels])


def test_thresholds_are_summed_from_left_to_right():
    intervals = np.random.default_rng(0).uniform(0.01, 1, (255,)).astype(np.float32)
    d = [np.float32(0.3)]
    for a in intervals:
        d.append(d[-1] + a)
    d = np.array(d)
    np.testing.assert_array_equal(knots(jnp.float32(0.3), jnp.asarray(intervals)), d)
    expected = (d[:-1] + d[1:]) / 2
    np.testing.assert_array_equal(thresholds(jnp.float32(0.3), jnp.asarray(intervals)), expected)


def test_floor_of_intervals():
    assert MIN_INTERVAL == 0.0010000000474974513
    intervals = jnp.array([0.5, MIN_INTERVAL, -1.0])
    np.testing.assert_array_equal(
        effective_intervals(intervals), np.float32([0.5, MIN_INTERVAL, MIN_INTERVAL])
    )
    parameters = (jnp.float32(0), intervals, jnp.float32(1), jnp.float32(1))
    x = jnp.array([0.2, 0.5003, 0.5012])
    np.testing.assert_array_equal(codes_gradients(x, *parameters)[0], [0, 1, 2])
    d_intervals = codes_gradients(x, *parameters)[3]
    assert d_intervals[0] < -1000
    np.testing.assert_array_equal(d_intervals[1:], [0, 0])


@pytest.mark.parametrize("extreme", [np.inf, -np.inf, np.nan, 3e38])
def test_infinities_and_nan(extreme):
    finite, parameters = jnp.array([1.2, 1.7, 3.0]), exact_parameters(jnp.float32, 2.0)
    g = jnp.array([1.0, -2.0, 3.0, 5.0])
    codes, dx, *rest = codes_gradients(jnp.append(finite, extreme), *parameters, g=g)
    np.testing.assert_array_equal(codes[3], np.nan if np.isnan(extreme) else 3 * (extreme > 0))
    without, dx_without, *rest_without = codes_gradients(finite, *parameters, g=g[:3])
    np.testing.assert_array_equal(codes[:3], without)
    np.testing.assert_array_equal(dx, [*dx_without, 0])
    assert_trees_close(rest, rest_without, 1e-6)
    # The scale of the output sees the code itself.
    assert np.isnan(gradients(jnp.append(finite, extreme), *parameters)[4]) == np.isnan(extreme)


@pytest.mark.parametrize("start", [-0.7, 0.0, 0.3])
def test_zero_in_scale(x64, start):
    intervals = jnp.array([0.4, 0.5, 0.6])
    x = jnp.array([3.0, -1.0, np.inf])
    parameters = (jnp.float64(start), intervals, jnp.float64(0), jnp.float64(1))
    g = jnp.array([2.0, 1.0, 7.0])
    codes, dx, d_start, _, d_in_scale = codes_gradients(x, *parameters, g=g)
    np.testing.assert_array_equal(codes[:2], [2, 2] if start < 0 else [0, 0])
    np.testing.assert_array_equal(dx, 0)
    slope = 1 / 0.5 if start < 0 else 0.0  # at start itself, 0 is below the first segment
    np.testing.assert_allclose(d_in_scale, slope * (2 * 3 - 1), rtol=1e-12)
    np.testing.assert_allclose(d_start, -slope * 3, rtol=1e-12)


def f32(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": jax.ShapeDtypeStruct((2, 4), jnp.int32)}, TypeError, "x must be a float.*int32"),
        ({"intervals": f32(2)}, ValueError, r"intervals must have shape.*got shape \(2,\)"),
        ({"intervals": f32(0)}, ValueError, r"intervals must have shape.*got shape \(0,\)"),
        ({"intervals": f32(511)}, ValueError, r"bits from 1 to 8.*got shape \(511,\)"),
        ({"intervals": f32(3, 4, 1)}, ValueError, r"intervals must have.*\(3, 4, 1\)"),
        ({"intervals": f32(3, 5)}, ValueError, r"intervals has 5 channels.*x has 4"),
        ({"intervals": f32(3, 1), "x": f32()}, ValueError, "but x has none"),
        ({"start": f32(4)}, ValueError, r"start has one value a channel.*got \(3,\)"),
        ({"in_scale": f32(4)}, ValueError, r"in_scale has one value a channel.*got \(3,\)"),
        ({"start": f32(5)}, ValueError, r"start must have shape .*\(4,\).*got \(5,\)"),
        ({"in_scale": f32(1, 4)}, ValueError, r"in_scale must have.*got \(1, 4\)"),
        ({"out_scale": f32(4)}, ValueError, r"out_scale must have one.*got shape \(4,\)"),
    ],
)
def test_errors(change, error, message):
    arguments = {"x": f32(2, 4), "start": f32(), "intervals": f32(3), "in_scale": f32()}
    with pytest.raises(error, match=message):
        jax.eval_shape(quantize_activation, **{**arguments, "out_scale": f32(), **change})


def test_parameters_of_one_element_and_python_numbers(x64):
    x, (start, intervals, in_scale, out_scale) = normal((3, 4)), initial(2)
    expected = quantize_activation(x, start, intervals, in_scale, out_scale)
    for shape in ((), (1,)):
        q = quantize_activation(
            np.asarray(x), np.zeros(shape), np.asarray(intervals), np.ones(shape), np.ones(shape)
        )
        np.testing.assert_array_equal(q.codes, expected.codes)
    q = quantize_activation(x, 0.0, intervals, 1, 1.0)
    np.testing.assert_array_equal(q.dequantize(), expected.dequantize())


@pytest.mark.parametrize("shape", [(0,), (0, 4), (4, 0), (2, 0, 3), (), (1,), (7919,)])
@pytest.mark.parametrize("per_channel", [False, True])
def test_shapes(shape, per_channel):
    if shape in ((), (7919,)):
        per_channel = False
    parameters = initial(2, shape[-1] if per_channel else None)
    x = normal(shape)
    out = gradients(x, *parameters)
    assert [v.shape for v in out] == [v.shape for v in (x, *parameters)]
    assert all(np.isfinite(v).all() for v in out)
    if 0 in shape:
        assert not any(v.any() for v in out)
    else:
        np.testing.assert_allclose(out[1].sum(), -out[0].sum(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bits", [2, 4])
def test_statistics_of_bfloat16_inputs_are_sums_in_float32(x64, bits):
    x, g = normal((64, 64), jnp.bfloat16), normal((64, 64), jnp.bfloat16, seed=1)
    codes, dx, *wide = codes_gradients(x, *initial(bits), g=g)
    assert codes.dtype == dx.dtype == jnp.bfloat16
    exact = codes_gradients(
        x.astype(jnp.float64), *initial(bits, dtype=jnp.float64), g=g.astype(jnp.float64)
    )[2:]
    for value, expected in zip(wide, exact, strict=True):
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-3)


def test_statistics_are_float64_sums_under_x64(x64):
    x, g = jnp.full((3,), 0.5, jnp.float32), jnp.array([1e9, 1, -1e9], jnp.float32)
    assert codes_gradients(x, *initial(1), g=g)[2] == -0.5


@pytest.mark.slow
def test_transformations():
    x, parameters = normal((3, 4, 5)), initial(2)
    one_by_one = [gradients(v, *parameters) for v in x]
    expected = [jnp.stack(v) for v in zip(*one_by_one, strict=True)]
    in_axes = (0, None, None, None, None)
    assert_trees_close(jax.vmap(gradients, in_axes)(x, *parameters), expected)

    def twice(step):
        def run(x, *parameters):
            carry, _ = lax.scan(lambda c, _: (step(c, *parameters), None), x, None, length=2)
            return (carry**2).sum()

        return jax.jit(jax.grad(run, argnums=EVERYTHING))(x, *parameters)

    def step(x, *parameters):
        return quantize_activation(x, *parameters).dequantize() + 0.1 * x

    unrolled = jax.grad(
        lambda x, *p: (step(step(x, *p), *p) ** 2).sum(), argnums=EVERYTHING
    )(x, *parameters)  # fmt: skip
    assert_trees_close(twice(step), unrolled, 1e-4, 1e-4)
    assert_trees_close(twice(jax.checkpoint(step)), unrolled, 1e-4, 1e-4)


def test_a_set_of_parameters_for_each_example():
    x, parameters = normal((2, 4, 5)), initial(2)
    several = [jnp.stack([p, 1.25 * p]) for p in parameters]
    out = jax.vmap(gradients)(x, *several)
    for i in range(2):
        assert_trees_close([v[i] for v in out], gradients(x[i], *(p[i] for p in several)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize(("shape", "bits"), [((16, 8, 8, 8), 2), ((16, 6, 6, 16), 4)])
def test_sharded_batch(kind, shape, bits):
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(kind,))
    x, parameters = normal(shape), initial(bits)
    with jax.set_mesh(mesh):
        sharded = jax.device_put(x, NamedSharding(mesh, PartitionSpec("batch")))
        compiled = gradients.lower(sharded, *parameters).compile()
        out = compiled(sharded, *parameters)
    assert "all-gather" not in compiled.as_text()
    assert "all-reduce" in compiled.as_text()
    assert out[0].sharding.spec[0] == "batch"
    assert_trees_close(out, gradients(x, *parameters), 1e-4, 1e-4)


@pytest.mark.slow
def test_shard_map():
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(AxisType.Auto,))
    x, parameters = normal((16, 4, 4, 3)), initial(2)
    spec = PartitionSpec("batch")
    total = jax.shard_map(
        lambda *args: lax.psum(loss(*args), "batch"),
        mesh=mesh,
        in_specs=(spec, *[PartitionSpec()] * 4),
        out_specs=PartitionSpec(),
    )
    out = jax.jit(jax.grad(total, argnums=EVERYTHING))(x, *parameters)
    assert_trees_close(out, gradients(x, *parameters), 1e-4, 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "bits"),
    [
        *(((4, 14, 14, 16), bits) for bits in (1, 2, 4, 8)),
        *(((64, 96), bits) for bits in (2, 8)),
        *(((65536, 16), bits) for bits in (1, 4)),
        *(((31, 13, 17, 7), bits) for bits in (1, 8)),
    ],
)
def test_temporary_memory_of_the_backward(shape, bits):
    arguments = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in initial(bits)]
    x = f32(*shape)

    @jax.jit
    def backward(x, g, *parameters):
        return jax.vjp(lambda *a: quantize_activation(*a).dequantize(), x, *parameters)[1](g)

    memory = backward.lower(x, x, *arguments).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 4 * x.size * 4


def test_temporary_memory_of_two_in_a_row():
    x, parameters = f32(8, 14, 14, 16), initial(4)

    @jax.jit
    def backward(x, g, *parameters):
        def stacked(x, *parameters):
            for _ in range(2):
                x = quantize_activation(x, *parameters).dequantize()
            return x

        return jax.vjp(stacked, x, *parameters)[1](g)

    # Two inputs' worth of codes, gradients of codes and values: the same at every bit width.
    memory = backward.lower(x, x, *parameters).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 8 * x.size * 4


def test_backward_keeps_the_input_alone():
    x, parameters = normal((6, 7, 8)), initial(4)
    _, pull = jax.vjp(lambda *a: quantize_activation(*a).codes, x, *parameters)
    kept = [v for v in jax.tree.leaves(pull) if v.size > 15]
    assert len(kept) == 1
    np.testing.assert_array_equal(kept[0], x)


def test_barrier_in_evaluation_alone():
    x, parameters = normal((2, 3)), initial(2)
    evaluation = str(jax.make_jaxpr(quantize_activation)(x, *parameters))
    assert evaluation.count("optimization_barrier") == 1
    assert "optimization_barrier" not in str(jax.make_jaxpr(gradients)(x, *parameters))
