import numpy as np
import pytest
from onnx import TensorProto

from n2uq_jax.export.formats.onnx.graph import OnnxGraph
from n2uq_jax.export.formats.onnx.weights import add_weights
from tests.export.formats.onnx.nodes import run_nodes

STORED = {1: "UINT2", 2: "UINT2", 3: "UINT4", 4: "UINT4", 5: "own", 7: "own"}


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("bits", STORED)
def test_weights_are_stored_in_few_bits(bits, dtype):
    odd = np.arange(-(2**bits) + 1, 2**bits, 2)
    weight = np.random.default_rng(0).permutation(np.resize(odd, 999)).reshape(27, 37)
    weight = (weight + (128 if dtype == np.uint8 else 0)).astype(dtype)
    graph = OnnxGraph(25)
    name = add_weights(graph, weight, "layer")
    (stored,) = [t for t in graph.initializers.values() if t.name.startswith("layer")]
    kind = STORED[bits]
    assert stored.data_type == (
        {np.int8: TensorProto.INT8, np.uint8: TensorProto.UINT8}[dtype]
        if kind == "own"
        else TensorProto.DataType.Value(kind)
    )
    per_byte = {"UINT2": 4, "UINT4": 2, "own": 1}[kind]
    assert len(stored.raw_data) == -(-999 // per_byte)
    for optimized in (True, False):
        x = np.zeros((27, 37), np.int32)
        result = graph.node("Add", ["x", graph.cast(name, TensorProto.INT32)])
        np.testing.assert_array_equal(run_nodes(graph, result, x, optimized=optimized), weight)


@pytest.mark.parametrize("values", [[7], [0, 0], [-128, 127], [-127, 0, 127], [-2, -1, 0, 1]])
def test_other_weights_survive_too(values):
    weight = np.int8(values)
    graph = OnnxGraph(25)
    wide = graph.cast(add_weights(graph, weight, "layer"), TensorProto.INT32)
    result = run_nodes(graph, graph.node("Add", ["x", wide]), np.zeros(len(values), np.int32))
    np.testing.assert_array_equal(result, weight)
