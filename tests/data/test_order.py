"""The order of training records."""

import pickle

import pytest

from n2uq_jax.data.order import EndlessOrder


def test_every_epoch_has_every_record_in_an_order_of_its_own():
    order = EndlessOrder(7, seed=3)
    epochs = [[order[7 * epoch + place] for place in range(7)] for epoch in range(4)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_a_position_says_it_all():
    order, copy = EndlessOrder(50, seed=1), pickle.loads(pickle.dumps(EndlessOrder(50, seed=1)))
    positions = [3, 120, 10**12, 4, 49, 50]
    assert [order[p] for p in positions] == [copy[p] for p in reversed(positions)][::-1]


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_seeds_differ(seed):
    assert [EndlessOrder(50, seed)[p] for p in range(50)] != [
        EndlessOrder(50, 7)[p] for p in range(50)
    ]
