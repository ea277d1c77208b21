"""A program in words: what a manifest says about each of its steps."""

from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp

from n2uq_jax.export.program.program import IntegerProgram
from n2uq_jax.export.trace.graph import Op, Value
from n2uq_jax.export.trace.network import MOVES, Product, TracedNetwork

Step = dict[str, Any]


def describe(program: IntegerProgram) -> list[Step]:
    """Lists the steps of a program in order.

    Args:
      program: the integer program.

    Returns:
      JSON-able dicts with the ``kind`` of step (``"convolution"`` or ``"matrix product"`` of
      codes, integer ``"thresholds"``, or ``"float"`` arithmetic as in the network), its
      ``name``, and what it ``reads``.
    """
    network = program.network(jax.ShapeDtypeStruct((1, *program.image_shape), jnp.float32))
    ops, _ = network.live(program.folded)
    names = _names(network, ops)
    products = {p.op: p for p in network.products if p.codes is not None}
    folded = {q.op: q for q in network.quantizers if q.name in program.folded}
    steps, floats = [], []
    for op in ops:
        if not any(value in network.graph.from_data for value in op.outputs):
            continue
        if op in products:
            steps.append(_product(products[op], names, network, program))
        elif op in folded:
            quantizer = folded[op]
            assert quantizer.product is not None
            steps.append(
                {
                    "kind": "thresholds",
                    "name": quantizer.name,
                    "reads": [quantizer.product.name],
                    "levels": quantizer.levels,
                }
            )
        elif op.outputs[0] not in network.ranges or op.is_quantizer:
            floats.append(op)
            if network.segments[op] is op or any(v in network.graph.outputs for v in op.outputs):
                chain = [o for o in floats if network.segments[o] is network.segments[op]]
                floats = [o for o in floats if o not in chain]
                steps.append(_float(chain, names, network))
    return steps


def _product(product: Product, names, network: TracedNetwork, program: IntegerProgram) -> Step:
    weight = program.tensors[f"{product.name}/weight"]
    low, high = product.accumulator_range(weight)
    params = product.bilinear.params
    step = {
        "kind": "matrix product",
        "name": product.name,
        "reads": [_codes_behind(product.op.inputs[0], names, network)],
        "weight": {"tensor": f"{product.name}/weight", "shape": list(weight.shape)},
        "accumulator": [int(low.min()), int(high.max())],
    }
    if product.bilinear.name == "conv_general_dilated":
        step["kind"] = "convolution"
        step["strides"] = list(params["window_strides"])
        step["padding"] = [list(pair) for pair in params["padding"]]
        step["groups"] = params["feature_group_count"]
    return step


def _codes_behind(value: Value, names: dict[Value, str], network: TracedNetwork) -> str:
    while value not in names:
        op = network.graph.producer[value]
        value = next(v for v in op.inputs if v in network.ranges)
    return names[value]


def _float(chain: list[Op], names: dict[Value, str], network: TracedNetwork) -> Step:
    read = dict.fromkeys(names[v] for op in chain for v in op.inputs if v in names)
    inner = {v for op in chain for v in op.outputs}
    written = [names[v] for op in chain for v in op.outputs if v in names]
    read_from_elsewhere = [n for n in read if n not in {names[v] for v in inner if v in names}]
    operations = Counter(op.name for op in chain if op.name not in MOVES)
    return {
        "kind": "float",
        "name": written[-1],
        "reads": read_from_elsewhere,
        "operations": dict(sorted(operations.items())),
    }


def _names(network: TracedNetwork, ops: list[Op]) -> dict[Value, str]:
    names = {network.graph.inputs[0]: "images"}
    names |= {p.accumulator: p.name for p in network.products}
    names |= {q.codes: q.name for q in network.quantizers}
    isolated = [
        value
        for op in ops
        for value in op.outputs
        if (op.name == "optimization_barrier" or value in network.shared)
        and value in network.graph.from_data
    ]
    names |= {value: f"value {i}" for i, value in enumerate(isolated)}
    names |= {network.graph.outputs[0]: "logits"}
    return names
