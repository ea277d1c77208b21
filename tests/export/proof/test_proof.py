import dataclasses

import jax
import numpy as np
import pytest

from n2uq_jax.export import prove
from n2uq_jax.export.proof.comparison import compare
from n2uq_jax.export.proof.edges import count_differing
from n2uq_jax.export.thresholds.chain import compile_chain
from n2uq_jax.export.trace.model import trace_model
from n2uq_jax.export.trace.reference import evaluation_function
from tests.export.networks import NETWORKS, built, images


@pytest.mark.usefixtures("optimized")
@pytest.mark.parametrize(
    "name",
    [
        name if name == "resnet8" else pytest.param(name, marks=pytest.mark.slow)
        for name in NETWORKS
    ],
)
def test_program_equals_network(name):
    _, shape, folded = NETWORKS[name]
    model, program = built(name)
    x = images(96, shape)
    proof = prove(program, model, x, batch_size=40)

    assert {edge.quantizer: edge.source for edge in proof.edges} == folded
    assert proof.ok
    assert str(proof).startswith("integer program on cpu: EQUAL")
    assert proof.data.images == 96
    assert set(proof.data.layers) == {*folded, *program.unfolded}
    assert all(layer.largest_share < 0.95 for layer in proof.data.layers.values())
    assert proof.data.plain_flips == 0
    for edge in proof.edges:
        channels = sum(edge.channels.values())
        assert edge.values <= channels * (edge.high - edge.low + 1)
        assert edge.values > 20 * channels
    kinds = {kind for edge in proof.edges for kind in edge.channels}
    assert kinds == {"increasing", "decreasing", "constant", "not monotone"}

    function, parameters = evaluation_function(model)
    logits = jax.jit(function)(parameters, x[:40])
    np.testing.assert_allclose(program(x[:40]), logits, rtol=1e-5, atol=1e-6, strict=True)


def mutated(program, name, change):
    array = program.tensors[name].copy()
    change(array)
    return dataclasses.replace(program, tensors={**program.tensors, name: array})


QUANTIZER = "stages/1/0/units/1/conv/input_quantizer"


@pytest.fixture(scope="module")
def chain(model):
    traced, parameters = trace_model(model, (8, 8, 1))
    network = traced.at_sampling_batch()
    (quantizer,) = [q for q in network.quantizers if q.name == QUANTIZER]
    return compile_chain(network, quantizer, traced.constants(parameters))


def thresholds_inside(program, chain):
    """Returns copies of the thresholds, and the place of each that is inside the range."""
    held = program.thresholds[QUANTIZER]
    held = dataclasses.replace(held, points=held.points.copy(), steps=held.steps.copy())
    inside = (held.points > chain.low[:, None]) & (held.points < chain.high[:, None] - 1)
    return held, np.argwhere(inside & (held.steps != 0))


def test_every_moved_threshold_is_caught(program, chain):
    thresholds, places = thresholds_inside(program, chain)
    assert count_differing(chain, thresholds) == 0
    assert len(places) > 10
    for place in map(tuple, places):
        for by in (-1, 1):
            thresholds.points[place] += by
            assert count_differing(chain, thresholds) > 0
            thresholds.points[place] -= by
    assert count_differing(chain, thresholds) == 0


def test_every_flipped_direction_is_caught(program, chain):
    thresholds, places = thresholds_inside(program, chain)
    for channel in set(places[:, 0]):
        thresholds.steps[channel] *= -1
        assert count_differing(chain, thresholds) > 0
        thresholds.steps[channel] *= -1


def test_proof_names_what_differs(program, model):
    tensors = {name: array.copy() for name, array in program.tensors.items()}
    held = program.thresholds[QUANTIZER]
    moved = dataclasses.replace(held, points=held.points + 1)
    weight, bias = "stages/2/0/units/0/conv/weight", "norm/bias"
    tensors[weight][0, 1, 2, 3] ^= 2
    tensors[bias][0] = np.nextafter(tensors[bias][0], np.float32(9))
    changed = dataclasses.replace(
        program, tensors=tensors, thresholds={**program.thresholds, QUANTIZER: moved}
    )
    proof = prove(changed, model, images(64))
    assert proof.tensors == sorted([weight, bias])
    assert [edge.differing > 0 for edge in proof.edges] == [False, True, False]
    assert proof.data.differing > 0
    assert not proof.ok
    assert "NOT EQUAL" in str(proof)
    assert "2 differ" in str(proof)


def test_dropped_weight_bit_alone_is_caught(program, model):
    name = "stages/2/0/units/0/conv/weight"
    weight = program.tensors[name].copy()
    weight[0, 1, 2, 3] ^= 2
    changed = dataclasses.replace(program, tensors={**program.tensors, name: weight})
    x = images(64)
    before, after = program.codes(x)[1], changed.codes(x)[1]
    differing = {k for k in before if (np.asarray(before[k]) != np.asarray(after[k])).any()}
    assert differing == {"stages/2/0/units/1/conv/input_quantizer"}


def test_images_must_fit(program, model):
    with pytest.raises(ValueError, match=r"images must have shape \(n, 8, 8, 1\), got \(2, 8, 8"):
        prove(program, model, images(2, (8, 8, 3)))
    with pytest.raises(ValueError, match="images must have shape"):
        prove(program, model, images(0))


@pytest.fixture
def proof(exported):
    return exported[0].proof


@pytest.mark.parametrize("largest", [np.nan, np.inf])
def test_a_logit_that_is_not_finite_is_a_failure(proof, largest):
    data = dataclasses.replace(proof.data, largest_logit_difference=largest)
    broken = dataclasses.replace(proof, data=data)
    assert proof.verdict == "equal"
    assert broken.verdict == "not equal"
    assert not broken.ok


def test_integer_only_asks_for_equal_logits(proof):
    data = dataclasses.replace(proof.data, largest_logit_difference=1e-9)
    assert dataclasses.replace(proof, data=data).ok
    assert not dataclasses.replace(proof, data=data, integer_only=True).ok


def test_nothing_compared_is_not_equal(proof):
    nothing = dataclasses.replace(proof, edges=[], data=dataclasses.replace(proof.data, layers={}))
    assert nothing.verdict == "nothing to prove"
    assert not nothing.ok
    assert "NOTHING TO PROVE" in str(nothing)
    assert "EQUAL" not in str(nothing)


def test_nan_in_both_is_seen(program, model, monkeypatch):
    logits, codes = program.codes(images(4))
    monkeypatch.setattr(type(program), "codes", lambda self, x: (logits * np.nan, codes))
    traced, parameters = trace_model(model, (8, 8, 1))
    data = compare(program, traced, parameters, images(4), batch_size=4)
    assert np.isnan(data.largest_logit_difference)
