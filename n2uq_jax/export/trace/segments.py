"""Where a trace falls into arithmetic chains, each of which is compiled for itself."""

from collections.abc import Collection
from typing import Literal

from n2uq_jax.export.trace.graph import Graph, Op, Value

Segments = dict[Op, Op | Literal["outputs"]]
"""For each operation the one that ends its chain: a product, a quantizer or a barrier; or the
string ``"outputs"``."""


def segments(graph: Graph, integers: Collection[Value]) -> tuple[Segments, set[Value]]:
    """Cuts a trace into chains, and finds what several read although nothing isolates it.

    Args:
      graph: the trace.
      integers: values that hold integers, which no compiler rounds.

    Returns:
      The chains, and the float values that more than one of them reads.
    """
    readers = graph.consumers()
    chain: Segments = {}
    shared: set[Value] = set()
    for op in reversed(graph.ops):
        results = [v for v in op.outputs if v in graph.from_data]
        is_end = op.primitive is None or op.name == "optimization_barrier"
        ends: set[Op | Literal["outputs"]] = {
            chain[reader] for v in results for reader in readers.get(v, [])
        }
        if any(v in graph.outputs for v in results):
            ends.add("outputs")
        chain[op] = next(iter(ends)) if len(ends) == 1 and not is_end else op
        if len(ends) > 1 and not is_end and not any(v in integers for v in results):
            shared.update(results)
    return chain, shared
