import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from n2uq_jax.quantizers.segment_sums import blocked_shape, segment_sums


def reference(x, g, knots, in_scale):
    """The sums over a flat array, in float64, one segment after the other."""
    u = np.float32(in_scale) * x
    inside = [(u > left) & (u <= right) for left, right in itertools.pairwise(knots)]
    s0 = [g[m].sum() for m in inside]
    s1 = [(g[m] * (u[m] - left)).sum() for m, left in zip(inside, knots, strict=False)]
    finite = np.isfinite(x)
    return s0, s1, (g[finite] * x[finite]).sum()


@pytest.mark.parametrize("shape", [(7,), (4, 6), (3, 5, 2, 4), (2, 3, 130)])
def test_per_tensor(shape):
    x, g = (np.asarray(jax.random.normal(jax.random.key(i), shape)) for i in range(2))
    x = x.copy()
    x.flat[0], x.flat[1] = np.inf, -np.inf
    knots = np.array([-0.5, 0.25, 1.0, 1.5], np.float32)
    result = jax.jit(segment_sums)(x, g, knots, jnp.float32(0.5))
    expected = reference(x.ravel(), g.ravel().astype(float), knots, 0.5)
    for a, e in zip(result, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-5)


def test_per_channel_and_a_value_at_a_knot():
    x = jnp.array([[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]])
    g = jnp.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]])
    knots = jnp.array([[0.0, 1.0], [1.0, 2.0], [2.0, 4.0]])
    s0, s1, gx = segment_sums(x, g, knots, jnp.ones(2))
    # A segment holds its right end: 0 lies in front of the first, 1 in the first.
    np.testing.assert_array_equal(s0, [[2, 20], [4, 40]])
    np.testing.assert_array_equal(s1, [[2, 20], [4, 40]])
    np.testing.assert_array_equal(gx, [2 + 8, 10 + 40 + 120])


def test_of_nothing_the_sums_are_zero():
    knots = jnp.arange(4.0)
    s0, s1, gx = segment_sums(jnp.ones((0, 3)), jnp.ones((0, 3)), knots, jnp.float32(1))
    assert s0.shape == s1.shape == (3,)
    assert not np.any(s0)
    assert not np.any(s1)
    assert gx == 0


@pytest.mark.parametrize("segments", [1, 3, 255])
@pytest.mark.parametrize("shape", [(5,), (16, 7, 7, 3), (1, 100), (64, 56, 56, 64)])
def test_blocks_cover_the_array_and_their_sums_are_small(shape, segments):
    for per_channel in (False, True):
        batch, rows, lanes = blocked_shape(shape, segments, per_channel)
        assert batch * rows * lanes == np.prod(shape)
        assert shape[0] % batch == 0 or len(shape) == 1
        if per_channel:
            assert lanes == shape[-1]
        elif np.prod(shape) > 2**16:
            assert segments * batch * lanes <= np.prod(shape) // 4
