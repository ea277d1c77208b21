import importlib

import numpy as np
import pytest

from n2uq_jax.export.thresholds.chain import Chain
from n2uq_jax.export.thresholds.folding import CannotFold, fold

module = importlib.import_module("n2uq_jax.export.thresholds.folding")


def chain_of(function, low, high, size=7, directions=None):
    """A chain that evaluates ``function(accumulators)``, an integer array."""
    low, high = np.array(low), np.array(high)
    codes = lambda v: function(v).astype(np.int16)  # noqa: E731
    return Chain("q", codes, size, low, high, lambda: np.array(directions, float))


def staircases(v):
    """Channels that rise, fall, stay, and rise after falling."""
    u = v[:, 0] * 0.3, -v[:, 1] * 0.7, v[:, 2] * 0, np.abs(v[:, 3] - 2) * 0.4
    return np.stack([np.clip(np.floor(w), 0, 3) for w in u], 1)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_thresholds_reproduce_the_chain(size):
    low, high = [-20, -9, -5, -30], [31, 17, 6, 30]
    thresholds = fold(chain_of(staircases, low, high, size), max_code=3)
    for channel, kind in enumerate(["increasing", "decreasing", "constant", "not monotone"]):
        v = np.arange(low[channel], high[channel] + 1, dtype=np.int32)[:, None].repeat(4, 1)
        codes = np.asarray(thresholds(v))[:, channel]
        np.testing.assert_array_equal(codes, staircases(v)[:, channel])
        assert thresholds.kinds(np.array(low), np.array(high))[channel] == kind


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


def test_wide_ranges_are_bisected(monkeypatch):
    low, high = [-(10**8), -(10**9), -7], [2 * 10**8, 10**9, 9]

    def function(v):
        assert (v >= low).all()
        assert (v <= high).all()
        u = v[:, 0] / 1e7, -v[:, 1] / 1e8 + 3, v[:, 2] * 0 + 2
        return np.stack([np.clip(np.floor(w), 0, 15) for w in u], 1)

    chain = chain_of(function, low, high, directions=[1, -1, 0])
    thresholds = fold(chain, max_code=15)
    assert thresholds.kinds(chain.low, chain.high).tolist() == [
        "increasing",
        "decreasing",
        "constant",
    ]
    assert thresholds.points[0].tolist() == [10**7 * k - 1 for k in range(1, 16)]
    assert (np.diff(thresholds.points) >= 0).all()
    places = np.random.default_rng(0).integers(low, np.array(high) + 1, (1000, 3))
    near = np.clip(np.concatenate([thresholds.points.T, thresholds.points.T + 1]), low, high)
    for v in (places.astype(np.int32), near.astype(np.int32)):
        np.testing.assert_array_equal(thresholds(v), function(v))


def test_bisection_finds_what_enumeration_finds(monkeypatch):
    low, high = [-20, -9, -5], [31, 17, 6]
    chain = chain_of(
        lambda v: staircases(v[:, [0, 1, 2, 2]])[:, :3], low, high, directions=[1, -1, 0]
    )
    enumerated = fold(chain, max_code=3)
    monkeypatch.setattr(module, "MAX_ENUMERATED", 1)
    bisected = fold(chain, max_code=3)
    for v in range(-20, 32):
        row = np.clip(np.full((1, 3), v, np.int32), low, high).astype(np.int32)
        np.testing.assert_array_equal(bisected(row), enumerated(row))


def test_wide_ranges_need_certainty():
    chain = chain_of(staircases, [0] * 4, [10**9] * 4, directions=[1, 1, 0, np.nan])
    with pytest.raises(CannotFold, match="channel 3 is not monotone for certain"):
        fold(chain, 3)
