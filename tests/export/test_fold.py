import numpy as np
import pytest

from n2uq_jax.export.chain import Chain
from n2uq_jax.export.fold import CannotFold, fold
from n2uq_jax.export.thresholds import apply


def chain_of(function, low, high, size=7):
    """A chain that evaluates ``function(accumulators)``, an integer array."""
    low, high = np.array(low), np.array(high)
    return Chain("q", lambda v: function(v).astype(np.int16), size, low, high)


def staircases(v):
    """Channels that rise, fall, stay, and rise after falling."""
    u = v[:, 0] * 0.3, -v[:, 1] * 0.7, v[:, 2] * 0, np.abs(v[:, 3] - 2) * 0.4
    return np.stack([np.clip(np.floor(w), 0, 3) for w in u], 1)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_thresholds_reproduce_the_chain(size):
    low, high = [-20, -9, -5, -30], [31, 17, 6, 30]
    thresholds = fold(chain_of(staircases, low, high, size), levels=3)
    for channel, kind in enumerate(["increasing", "decreasing", "constant", "not monotone"]):
        v = np.arange(low[channel], high[channel] + 1, dtype=np.int32)[:, None].repeat(4, 1)
        codes = np.asarray(apply(thresholds.arrays, v))[:, channel]
        np.testing.assert_array_equal(codes, staircases(v)[:, channel])
        assert thresholds.kinds()[channel] == kind
    np.testing.assert_array_equal(thresholds.low, low)
    np.testing.assert_array_equal(thresholds.high, high)


def test_each_accumulator_is_visited_once():
    seen = []

    def watch(v):
        seen.append(v.copy())
        return np.zeros_like(v)

    chain = chain_of(watch, [-3, 10], [5, 12], size=4)
    assert (chain.span, chain.values) == (9, 12)
    fold(chain, 3)
    visited = np.concatenate(seen)
    assert sorted(set(visited[:, 0])) == list(range(-3, 6))
    assert sorted(set(visited[:, 1])) == [10, 11, 12]


def test_restless_channels_stay_float():
    chain = chain_of(lambda v: v % 2, [0], [100])
    with pytest.raises(CannotFold, match="channel 0 change 100 times"):
        fold(chain, 3)


def test_nan_is_an_error():
    chain = chain_of(lambda v: np.where(v == 3, -1, 0), [0], [9])
    with pytest.raises(ValueError, match="q has NaN codes"):
        fold(chain, 3)
