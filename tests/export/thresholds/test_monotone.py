import importlib

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from n2uq_jax.export import build_program, prove
from n2uq_jax.export.thresholds.chain import compile_chain
from n2uq_jax.export.thresholds.folding import fold
from n2uq_jax.export.thresholds.monotone import directions
from n2uq_jax.export.trace.model import trace_model
from n2uq_jax.export.trace.quantizer import Quantizer, Source
from n2uq_jax.export.trace.ranges import Range
from n2uq_jax.export.trace.tracing import trace
from n2uq_jax.nn import QuantConv, RPReLU
from tests.export.networks import images


def test_directions_agree_with_enumeration(model):
    traced, parameters = trace_model(model, (8, 8, 1))
    network, constants = traced.at_sampling_batch(), traced.constants(parameters)
    by_value = {network.constants[name]: array for name, array in constants.items()}
    told, untold = 0, 0
    for quantizer in network.quantizers:
        if quantizer.source is None:
            continue
        chain = compile_chain(network, quantizer, constants)
        kinds = fold(chain, quantizer.max_code).kinds(chain.low, chain.high)
        signs = directions(network.graph, quantizer, by_value)
        slopes = parameters[quantizer.name.replace("conv/input_quantizer", "activation/slope")]
        np.testing.assert_array_equal(np.isnan(signs), np.asarray(slopes) < 0)
        for kind, sign in zip(kinds, signs, strict=True):
            allowed = {
                1: ("increasing", "constant"),
                -1: ("decreasing", "constant"),
                0: ("constant",),
            }
            if np.isnan(sign):
                untold += 1
            else:
                told += 1
                assert kind in allowed[int(sign)]
    assert told > 20
    assert untold > 5


class Pair(nnx.Module):
    """At 8 bits, accumulators of up to 288 * 255 * 255: beyond enumeration and exact floats."""

    def __init__(self, bits, slope, rngs):
        shared = {"w_bits": bits, "a_bits": bits, "padding": 1, "rngs": rngs}
        self.first = QuantConv(32, 8, (3, 3), **shared)
        self.activation = RPReLU(8, slope_init=nnx.initializers.constant(slope), rngs=rngs)
        self.second = QuantConv(8, 4, (3, 3), **shared)

    def __call__(self, x):
        return self.second(self.activation(self.first(x))).mean((1, 2))


@pytest.mark.slow
def test_eight_bits_are_bisected_and_proven():
    model = Pair(8, 0.25, nnx.Rngs(0))
    program = build_program(model, (6, 6, 32))
    assert program.folded == {"second/input_quantizer": 255}
    proof = prove(program, model, images(20, (6, 6, 32)))
    assert proof.ok
    (edge,) = proof.edges
    assert edge.method == "bisection"
    assert edge.high - edge.low > 2**22
    assert edge.values == 8 * (2 * 255 + 2)


@pytest.mark.slow
def test_negative_slopes_beyond_enumeration_stay_float_and_exact(monkeypatch):
    monkeypatch.setattr(
        importlib.import_module("n2uq_jax.export.thresholds.folding"), "MAX_ENUMERATED", 100
    )
    model = Pair(2, -0.25, nnx.Rngs(0))
    program = build_program(model, (6, 6, 32))
    assert program.folded == {}
    assert "not monotone for certain" in program.unfolded["second/input_quantizer"]
    assert prove(program, model, images(20, (6, 6, 32))).ok


def directions_of(function, **p):
    """Returns what is known of ``function(p, y)`` for three channels of integers."""
    graph = trace(function, p, jnp.zeros((2, 3)))
    (value,), (result,) = graph.inputs, graph.outputs
    source = Source("s", value, Range.of(-9, 9).over(3))
    quantizer = Quantizer("q", graph.producer[result], source, [], None)
    return directions(graph, quantizer, {graph.parameters[k]: v for k, v in p.items()}).tolist()


def test_a_guard_against_nan_compares_a_value_with_itself():
    guarded = directions_of(lambda p, y: jnp.where(jnp.isnan(y), jnp.nan, 2 * y))
    assert guarded == [1, 1, 1]
    other = directions_of(lambda p, y: jnp.where(y != 0, jnp.abs(y), y))
    assert np.isnan(other).all()


def test_every_way_to_write_a_prelu():
    a = jnp.float32([[0.5, 0, -0.5]])
    for prelu in (
        lambda p, y: jnp.where(y > 0, y, p["a"] * y),
        lambda p, y: jnp.where(y >= 0, y, y * p["a"]),
    ):
        np.testing.assert_array_equal(directions_of(prelu, a=a), [1, 1, np.nan])
    largest = directions_of(lambda p, y: jnp.where(y > p["a"] * y, y, p["a"] * y), a=a)
    np.testing.assert_array_equal(largest, [1, 1, np.nan])
    smallest = directions_of(lambda p, y: jnp.where(y < p["a"] * y, y, p["a"] * y), a=a)
    np.testing.assert_array_equal(smallest, [1, 1, np.nan])
    tested = directions_of(lambda p, y: jnp.where(y > y + 1, y, p["a"] * y), a=a)
    assert np.isnan(tested).all()


def test_signs_of_operands():
    assert directions_of(lambda p, y: 3 - jnp.clip(-y, -2, 4)) == [1, 1, 1]
    assert directions_of(lambda p, y: jnp.maximum(y, 0) + jnp.floor(y)) == [1, 1, 1]
    assert directions_of(lambda p, y: (y < 2).astype(jnp.float32)) == [-1, -1, -1]
    assert directions_of(lambda p, y: y * p["g"], g=jnp.float32([[2, 0, -1]])) == [1, 0, -1]
    assert np.isnan(directions_of(lambda p, y: y - jnp.minimum(y, 0))).all()
