import jax.numpy as jnp
import numpy as np
import pytest

from n2uq_jax.export.thresholds.thresholds import Thresholds, from_changes

LOW, HIGH = np.array([-4] * 5), np.array([4] * 5)
TABLE = np.array(
    [
        # codes at -4 .. 4
        [0, 0, 0, 1, 1, 2, 3, 3, 3],
        [3, 3, 3, 3, 1, 1, 1, 0, 0],
        [2, 2, 2, 2, 2, 2, 2, 2, 2],
        [3, 2, 0, 0, 0, 1, 1, 2, 2],
        [1, 1, 1, 1, 1, 1, 1, 1, 2],
    ]
)


def fold_table(table):
    changes = []
    for row in table:
        places = np.flatnonzero(np.diff(row))
        changes.append((places - 4, np.diff(row)[places]))
    n = len(table)
    return from_changes(table[:, 0], changes, 3, LOW[:n], HIGH[:n])


def test_every_kind_of_channel_is_exact():
    thresholds = fold_table(TABLE)
    accumulators = np.arange(-4, 5, dtype=np.int32)[:, None].repeat(5, 1)
    np.testing.assert_array_equal(thresholds(jnp.asarray(accumulators)), TABLE.T)
    assert thresholds.kinds(LOW, HIGH).tolist() == [
        "increasing",
        "decreasing",
        "constant",
        "not monotone",
        "increasing",
    ]


def test_monotone_channels_have_one_point_a_level():
    thresholds = fold_table(TABLE[:3])
    assert thresholds.points.tolist() == [[-2, 0, 1], [-1, -1, 2], [-5, -5, 4]]
    assert thresholds.steps.tolist() == [[1, 1, 1], [-1, -1, -1], [1, 1, 1]]
    assert thresholds.base.tolist() == [0, 3, 0]
    assert thresholds.is_monotone
    assert not fold_table(TABLE).is_monotone


def test_any_rank():
    thresholds = fold_table(TABLE)
    accumulators = np.random.default_rng(0).integers(-4, 5, (2, 3, 4, 5)).astype(np.int32)
    codes = thresholds(jnp.asarray(accumulators))
    expected = TABLE[np.arange(5), accumulators + 4]
    np.testing.assert_array_equal(codes, expected)


def test_kinds_look_at_the_range_alone():
    points = np.array([[-9, 9]], np.int32)
    arrays = {"points": points, "steps": np.ones((1, 2), np.int16), "base": np.zeros(1, np.int16)}
    for low, high, kind in [(-8, 9, "constant"), (-9, 0, "increasing"), (0, 10, "increasing")]:
        thresholds = Thresholds(**arrays, max_code=2)
        assert thresholds.kinds(np.array([low]), np.array([high])).tolist() == [kind]


def test_points_outside_of_the_steps_are_unused():
    thresholds = fold_table(TABLE)
    assert thresholds.points.shape == (5, 4)
    assert (thresholds.steps[:3, 3] == 0).all()
    with pytest.raises(ValueError, match="shorter"):
        from_changes(TABLE[:, 0], [(np.array([0]), np.array([1]))], 3, LOW, HIGH)
