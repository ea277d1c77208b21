import dataclasses
import importlib

import numpy as np
import pytest

from n2uq_jax.export.proof.edges import count_differing, prove_edges
from n2uq_jax.export.thresholds.chain import Chain
from n2uq_jax.export.thresholds.thresholds import Thresholds
from tests.export.dense_network import built

module = importlib.import_module("n2uq_jax.export.proof.edges")


def edges(thresholds, progress=lambda *step: None):
    _, traced, parameters = built()
    network = traced.at_sampling_batch()
    return list(prove_edges(thresholds, network, traced.constants(parameters), progress))


def test_every_integer_of_every_channel_is_compared():
    steps = []
    (edge,) = edges(built()[0].thresholds, lambda *step: steps.append(step))
    assert (edge.quantizer, edge.source) == ("head", "dense")
    assert (edge.low, edge.high) == (-765, 1275)
    assert edge.method == "enumeration"
    assert edge.values == 766 + 2041 + 256
    assert edge.differing == 0
    assert edge.channels == {"increasing": 1, "decreasing": 1, "constant": 1}
    assert steps == [("Comparing every accumulator", i, 1) for i in (0, 1)]


def test_a_threshold_that_is_off_by_one_differs_at_one_integer():
    held = built()[0].thresholds["head"]
    points = held.points.copy()
    points[1, 2] += 1
    (edge,) = edges({"head": dataclasses.replace(held, points=points)})
    assert edge.differing == 1


def test_only_folded_quantizers_are_compared():
    assert edges({}) == []


def chain(function, low, high, size=8):
    return Chain(
        "q",
        lambda sums: function(sums).astype(np.int16),
        size,
        np.array([low]),
        np.array([high]),
        lambda: np.ones(1),
    )


@pytest.mark.parametrize(("point", "differing"), [(499_999, 0), (499_998, 1), (500_002, 1)])
def test_wide_ranges_are_compared_around_the_thresholds(point, differing):
    step = chain(lambda sums: sums >= 500_000, 0, module.MAX_ENUMERATED + 1_000_000)
    thresholds = Thresholds(
        points=np.int32([[point]]), steps=np.int16([[1]]), base=np.int16([0]), max_code=1
    )
    assert count_differing(step, thresholds) == differing
