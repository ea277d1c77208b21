"""The traced model; and a network that is integer arithmetic from pixels to logits."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from n2uq_jax.export import build_program, prove
from n2uq_jax.export.trace.model import trace_model
from tests.export.integer_network import SHAPE, network, parameters, pixels
from tests.export.networks import images


@pytest.fixture(scope="module")
def integer_model():
    return network, parameters()


@pytest.fixture(scope="module")
def integer_program(integer_model):
    return build_program(integer_model, SHAPE, image_dtype=np.uint8)


def test_integer_network_is_integer_only_and_equal(integer_model, integer_program):
    assert integer_program.unfolded == {}
    assert set(integer_program.folded) == {"block", "head"}
    assert integer_program.integer_only
    assert {array.dtype.kind for array in integer_program.tensors.values()} == {"i"}
    proof = prove(integer_program, integer_model, pixels(50), batch_size=20)
    assert proof.ok
    assert str(proof).startswith("integer-only program on cpu: EQUAL")
    assert proof.data.largest_logit_difference == 0
    assert [edge.source for edge in proof.edges] == ["stem/integers", "add/integers"]
    assert all(layer.largest_share < 0.6 for layer in proof.data.layers.values())
    assert proof.values > 100_000


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("stem/multiplier", lambda a: a + np.eye(1, 8, 3, dtype=np.int32)[0]),
        ("stem/offset", lambda a: a + 3000),
        ("block/multiplier", lambda a: -a),
        ("head/bias", lambda a: a + np.eye(1, 5, 2, dtype=np.int32)[0]),
        ("stem/weight", lambda a: np.roll(a, 1, 0)),
    ],
)
def test_changed_integers_are_caught(integer_model, integer_program, name, change):
    changed = change(integer_program.tensors[name]).astype(integer_program.tensors[name].dtype)
    program = dataclasses.replace(
        integer_program, tensors={**integer_program.tensors, name: changed}
    )
    proof = prove(program, integer_model, pixels(50), batch_size=50)
    assert proof.tensors == [name]
    assert proof.data.differing or proof.data.largest_logit_difference
    assert not proof.ok


def test_float_arithmetic_in_between_is_not_integer_only(integer_model):
    def halved(p, x):
        return network(p, (x.astype(jnp.float32) * 0.5).astype(jnp.int32))

    program = build_program((halved, parameters()), SHAPE, image_dtype=np.uint8)
    assert not program.integer_only


def test_overflow_is_refused_by_layer_and_channel():
    p = parameters()
    p["stem"]["multiplier"][5] = 2**20
    with pytest.raises(ValueError, match=r"stem: mul in int32 can overflow: channel 5 lies in -"):
        build_program((network, p), SHAPE, image_dtype=np.uint8)


def test_each_batch_size_is_traced_once(integer_model):
    calls = []

    def counted(p, x):
        calls.append(x.shape[0])
        return network(p, x)

    traced, _ = trace_model((counted, parameters()), SHAPE, np.uint8)
    assert traced.at(1) is traced.at(1)
    assert traced.at(5) is traced.at(5)
    assert calls == [1, 5]


def test_what_is_not_finite_is_refused_by_name():
    def function(p, x):
        return x.mean((1, 2)) @ p["head"]["kernel"] + 0 * p["head"]["bias"][None]

    p = {"head": {"kernel": np.ones((1, 2), np.float32), "bias": np.float32([0, np.inf])}}
    p["unused"] = np.float32(np.nan)
    with pytest.raises(ValueError, match="finite parameters; head/bias has NaN or infinity"):
        trace_model((function, p), (8, 8, 1))


@pytest.mark.parametrize("shape", [(), (8, 0, 1), (8, -1, 1), (8.5, 8, 1)])
def test_image_shapes_are_checked(model, shape):
    with pytest.raises(ValueError, match="image_shape must be positive integers"):
        trace_model(model, shape)


def test_images_of_another_dtype_are_refused(integer_model, integer_program):
    with pytest.raises(ValueError, match="images must be uint8, got float32"):
        prove(integer_program, integer_model, images(2, SHAPE))


def test_symbolic_batches_share_a_trace(model):
    from n2uq_jax.export.trace.model import any_batch

    traced, _ = trace_model(model, (8, 8, 1))
    assert traced.at(any_batch()) is traced.at(any_batch())
    assert str(traced.at(any_batch()).graph.inputs[0].shape[0]) == "batch"
    assert jax.default_backend() == "cpu"
