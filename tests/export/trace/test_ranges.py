import jax.numpy as jnp
import numpy as np

from n2uq_jax.export.trace.ranges import Range, exact, of_products

LOW, HIGH = np.array([-5, 0, -9, 3]), np.array([7, 4, -2, 3])


def test_ends_are_kept_for_each_channel():
    held = Range.of_array(np.array([[1, -2], [5, -4], [3, 0]], np.int8))
    assert (held.low.tolist(), held.high.tolist()) == ([1, -4], [5, 0])
    assert held.low.dtype == np.int64
    assert held.bounds == (-4, 5)
    assert held.largest == 5
    assert Range.of_array(np.int32(7)).bounds == (7, 7)
    assert held.all_channels().low.shape == ()
    assert held.all_channels().bounds == held.bounds
    assert Range.of(0, 3).over(4).high.tolist() == [3] * 4


def test_a_range_lies_in_another_if_every_channel_does():
    held = Range.of(LOW, HIGH)
    assert held.within(held)
    assert held.within(Range.of(-9, 7))
    assert not held.within(Range.of(-8, 7))
    assert not held.within(Range.of(LOW, HIGH - [0, 0, 1, 0]))


def test_unions_hold_every_channel():
    union = Range.of(LOW, HIGH).union(Range.of(0, 1), Range.of(-6, -6))
    assert union.low.tolist() == [-6, -6, -9, -6]
    assert union.high.tolist() == [7, 4, 1, 3]


def test_dtypes():
    assert Range.of_dtype(np.dtype(np.bool_)).bounds == (0, 1)
    assert Range.of_dtype(np.uint8).bounds == (0, 255)
    assert not Range.of_dtype(np.int32).is_known
    assert Range.of(-(2**31) + 2, 0).is_known
    low, high = Range.of_dtype(np.int64).bounds
    assert low + low >= np.iinfo(np.int64).min  # sums of two ends do not wrap
    assert high + high <= np.iinfo(np.int64).max
    assert exact(np.dtype(np.int16)).bounds == (-(2**15), 2**15 - 1)
    assert exact(np.dtype(np.float32)).bounds == (-(2**24), 2**24)
    assert exact(jnp.dtype(jnp.bfloat16)).bounds == (-256, 256)


def test_products_are_bounded_per_channel():
    rng = np.random.default_rng(0)
    weight = rng.integers(-3, 4, (2, 2, 4, 6))
    held = of_products(weight, Range.of(LOW, HIGH))
    taps = weight.reshape(4, 4, 6)
    for o in range(6):
        low = sum(min(w * LOW[c], w * HIGH[c]) for t in taps for c, w in enumerate(t[:, o]))
        high = sum(max(w * LOW[c], w * HIGH[c]) for t in taps for c, w in enumerate(t[:, o]))
        assert (held.low[o], held.high[o]) == (low, high)


def test_padding_and_groups_of_products():
    weight = np.array([[2, -1], [3, 1]]).reshape(1, 1, 2, 2)  # two groups: inputs 0, 1 and 2, 3
    held = of_products(weight, Range.of(LOW, HIGH), groups=2)
    assert held.low.tolist() == [2 * -5 + 3 * 0, -1 * -2 + 1 * 3]
    assert held.high.tolist() == [2 * 7 + 3 * 4, -1 * -9 + 1 * 3]
    padded = of_products(weight, Range.of(LOW, HIGH), groups=2, pads=True)
    assert padded.low.tolist() == [-10, 0]
    assert padded.high.tolist() == [26, 12]
