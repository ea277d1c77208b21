import jax.numpy as jnp
from jax import lax

from n2uq_jax.export.trace.segments import segments
from n2uq_jax.export.trace.tracing import trace


def test_a_value_that_two_chains_read_is_shared():
    def function(p, x):
        y = jnp.sin(x)  # both barriers read it, and nothing isolates it
        a = lax.optimization_barrier(y + 1)
        b = lax.optimization_barrier(y * 2)
        return a + b

    graph = trace(function, {}, jnp.ones(3))
    chains, shared = segments(graph, ())
    assert [graph.producer[value].name for value in shared] == ["sin"]
    ends = [op for op in graph.ops if op.name == "optimization_barrier"]
    by_name = {op.name: chains[op] for op in graph.ops if op not in ends}
    assert by_name["mul"] is ends[1]
    assert [chains[end] for end in ends] == ends
    assert list(chains.values()).count("outputs") == 1
    assert segments(graph, shared)[1] == set()  # integers are rounded by nobody


def test_what_is_isolated_is_not_shared():
    def function(p, x):
        y = lax.optimization_barrier(jnp.sin(x))
        return lax.optimization_barrier(y + 1) + lax.optimization_barrier(y * 2)

    assert segments(trace(function, {}, jnp.ones(3)), ())[1] == set()
