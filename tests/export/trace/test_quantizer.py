import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from n2uq_jax.export.trace.quantizer import is_channelwise
from n2uq_jax.export.trace.tracing import trace
from tests.export import dense_network

ROW = np.float32([1, 2, 3, 4])


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda p, x: jnp.sin(x), True),
        (lambda p, x: x * p["row"].reshape(1, 1, 4), True),
        (lambda p, x: x + lax.broadcast_in_dim(p["row"], x.shape, (2,)), True),
        (lambda p, x: x + lax.exp(lax.broadcast_in_dim(p["row"], x.shape, (2,))), True),
        (lambda p, x: x + lax.broadcast_in_dim(p["row"], x.shape, (1,)), False),  # by position
        (lambda p, x: x * p["map"], False),
        (lambda p, x: x.reshape(-1, 4), True),
        (lambda p, x: x.reshape(2, -1), False),
        (lambda p, x: x.sum(1), False),
        (lambda p, x: lax.rev(x, (1,)), False),
        (lambda p, x: lax.cumsum(x, 1), False),
    ],
)
def test_what_a_channel_depends_on(function, expected):
    parameters = {"row": ROW, "map": np.ones((2, 4, 4), np.float32)}
    graph = trace(function, parameters, jnp.ones((2, 4, 4)))
    op = graph.producer[graph.outputs[0]]
    assert is_channelwise(op, 4, graph) is expected


def test_the_quantizer_and_what_it_reads():
    _, traced, _ = dense_network.built()
    (quantizer,) = traced.at(1).quantizers
    assert quantizer.name == "head"
    assert quantizer.reason is None
    assert quantizer.codes.shape == (1, 3)
    assert quantizer.chain[-1] is quantizer.op
    assert {"mul", "add"} < {op.name for op in quantizer.chain}
    assert quantizer.source.name == "dense"
    assert quantizer.source.value is traced.at(1).products[0].accumulator
    np.testing.assert_array_equal(quantizer.source.low, [-255, -765, 0])
    np.testing.assert_array_equal(quantizer.source.high, [510, 1275, 255])
