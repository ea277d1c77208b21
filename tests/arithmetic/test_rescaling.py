import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from n2uq_jax.arithmetic.rescaling import make_rescaling, rescale

BOUNDS = [1, 3 * 3 * 4608, 2**21 + 1, 255 * 255 * 4608, 2**31 - 1]
"""One product, a 2-bit layer, a first convolution, an 8-bit layer, all of int32."""


def channels(rng, n=400):
    """Gains and biases from tiny to absurd, with zeros."""
    gain = rng.normal(size=n) * 10.0 ** rng.uniform(-12, 12, n)
    bias = rng.normal(size=n) * 10.0 ** rng.uniform(-6, 12, n)
    gain[:20], bias[10:30] = 0, 0
    return jnp.asarray(gain, jnp.float32), jnp.asarray(bias, jnp.float32)


def exact(values, r):
    """The formula in integers that cannot overflow, and the sum before the shift."""
    multiplier, offset, shift = (
        np.asarray(a).astype(np.int64) for a in (r.multiplier, r.offset, r.shift)
    )
    sums = (values.astype(np.int64) >> r.dropped_bits) * multiplier + offset
    return sums >> shift, sums


@pytest.mark.parametrize("largest", BOUNDS)
def test_no_parameter_makes_an_integer_overflow(largest):
    rng = np.random.default_rng(largest)
    gain, bias = channels(rng)
    ends = np.array([-largest, -largest + 1, -1, 0, 1, largest - 1, largest])
    values = np.concatenate([ends, rng.integers(-largest, largest + 1, 50)]).astype(np.int32)
    values = np.broadcast_to(values[:, None], (len(values), len(gain)))
    rescaling = make_rescaling(gain, bias, largest)
    result = jax.jit(rescale)(jnp.asarray(values), rescaling)
    expected, sums = exact(values, rescaling)
    assert np.abs(sums).max() < 2**31
    assert np.abs(sums).max() > 2**28  # and the 32 bits are used
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("largest", BOUNDS[1:4])
def test_result_is_within_the_documented_distance_of_the_real_one(largest):
    rng = np.random.default_rng(largest)
    gain = rng.normal(size=300) * 2.0 ** rng.uniform(-4, 2, 300) * 2**15 / largest
    bias = rng.normal(size=300) * 2**12
    rescaling = make_rescaling(jnp.float32(gain), jnp.float32(bias), largest)
    values = rng.integers(-largest, largest + 1, (200, 300)).astype(np.int32)
    result = np.asarray(rescale(jnp.asarray(values), rescaling))
    real = values * np.float64(np.float32(gain)) + np.float64(np.float32(bias))
    unit = 2.0 ** -(np.asarray(rescaling.shift) + 1.0)
    dropped = 2.0**rescaling.dropped_bits
    bound = 0.5 + unit * (np.abs(values) / dropped + 2) + np.abs(gain) * dropped / 2
    assert (np.abs(result - real) <= bound).all()
    # A gain that matters keeps at least 7 bits, so the bound is no empty promise.
    matters = np.abs(gain) * largest > 2**13
    relative = np.abs(np.asarray(rescaling.multiplier))[matters]
    assert matters.sum() > 50
    assert relative.min() >= 64


def test_halves_go_up_and_every_integer_is_exact():
    values = jnp.arange(-9, 10, dtype=jnp.int32)[:, None]
    rescaling = make_rescaling(jnp.array([0.5, 1.0, -0.5]), jnp.array([0.0, 3.0, 0.0]), 9)
    result = np.asarray(rescale(jnp.tile(values, (1, 3)), rescaling))
    v = np.arange(-9, 10)
    np.testing.assert_array_equal(result[:, 0], np.floor(v / 2 + 0.5))
    np.testing.assert_array_equal(result[:, 1], v + 3)
    np.testing.assert_array_equal(result[:, 2], np.floor(-v / 2 + 0.5))


def test_scalars_and_many_axes():
    rescaling = make_rescaling(jnp.float32(0.25), jnp.float32(0), 100)
    values = jnp.full((2, 3, 4), -100, jnp.int32)
    np.testing.assert_array_equal(rescale(values, rescaling), np.full((2, 3, 4), -25))


def test_wrong_arguments_are_refused():
    one = jnp.ones((), jnp.float32)
    for largest in (0, 2**31):
        with pytest.raises(ValueError, match=rf"largest must be from 1.*got {largest}"):
            make_rescaling(one, one, largest)
    with pytest.raises(TypeError, match="int32, got float32"):
        rescale(one, make_rescaling(one, one, 3))


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(deadline=None, max_examples=60)
@given(
    constants=st.lists(st.tuples(FLOATS, FLOATS), min_size=8, max_size=8),
    largest=st.sampled_from(BOUNDS),
    fractions=st.lists(st.floats(-1, 1), min_size=8, max_size=8),
)
def test_a_search_for_overflow_finds_none(constants, largest, fractions):
    gain, bias = (jnp.asarray(values, jnp.float32) for values in zip(*constants, strict=True))
    rescaling = make_rescaling(gain, bias, largest)
    values = np.array([round(f * largest) for f in fractions] + [-largest, largest], np.int64)
    values = np.clip(values, -largest, largest).astype(np.int32)
    values = np.broadcast_to(values[:, None], (len(values), len(gain)))
    expected, sums = exact(values, rescaling)
    assert np.abs(sums).max() < 2**31
    np.testing.assert_array_equal(rescale(jnp.asarray(values), rescaling), expected)
