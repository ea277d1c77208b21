import jax
import jax.numpy as jnp
import numpy as np
import pytest
from onnx import TensorProto, numpy_helper

from n2uq_jax.export.formats.onnx.graph import NotInOnnx, OnnxGraph, fixed, unit_shape
from n2uq_jax.export.trace.model import any_batch
from n2uq_jax.export.trace.tracing import trace
from tests.export.formats.onnx.nodes import run_nodes

X = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)


def test_equal_constants_are_one():
    graph = OnnxGraph(17)
    one = graph.constant(np.float32([1, 2]))
    assert graph.constant(np.float32([1, 2])) == one
    names = {
        one,
        graph.constant(np.float64([1, 2])),
        graph.constant(np.float32([[1, 2]])),
        graph.constant(np.float32([2, 1])),
        graph.constant(np.float32([1, 2]), hint="weight"),
    }
    assert len(names) == len(graph.initializers) == 5
    np.testing.assert_array_equal(numpy_helper.to_array(graph.initializers[one]), [1, 2])


def test_nodes_have_names_of_their_own():
    graph = OnnxGraph(17)
    names = [graph.node("Neg", ["x"]), graph.node("Neg", ["x"]), graph.node("Neg", ["x"], hint="q")]
    assert len(set(names)) == 3
    assert names[2].startswith("q_")
    assert [list(node.output) for node in graph.nodes] == [[name] for name in names]


@pytest.mark.parametrize(
    ("start", "limit", "strides"),
    [
        ((0, 1, 0, 0), (2, 3, 4, 5), None),
        ((0, 0, 1, 0), (2, 3, 4, 4), (1, 1, 2, 3)),
        ((1, 0, 0, 0), (2, 3, 4, 5), (1, 1, 1, 1)),
    ],
)
def test_slices(start, limit, strides):
    graph = OnnxGraph(17)
    output = graph.slice("x", start, limit, strides, X.shape)
    expected = X[tuple(map(slice, start, limit, strides or (1,) * 4))]
    np.testing.assert_array_equal(run_nodes(graph, output, X), expected)


def test_a_slice_of_everything_is_nothing():
    graph = OnnxGraph(17)
    assert graph.slice("x", (0, 0, 0, 0), X.shape, None, X.shape) == "x"
    assert graph.nodes == []


def test_channels_move():
    graph = OnnxGraph(17)
    first = graph.channels_first("x", 4)
    np.testing.assert_array_equal(run_nodes(graph, first, X), X.transpose(0, 3, 1, 2))
    last = graph.channels_last("x", 4)
    np.testing.assert_array_equal(run_nodes(graph, last, X), X.transpose(0, 2, 3, 1))
    assert graph.channels_first("x", 2) == graph.channels_last("x", 2) == "x"


def test_casts_and_reshapes():
    graph = OnnxGraph(17)
    output = graph.reshape(graph.cast("x", TensorProto.INT32), (any_batch(), 60))
    result = run_nodes(graph, output, X + 0.75)
    np.testing.assert_array_equal(result, X.astype(np.int32).reshape(2, 60), strict=True)


def test_equal_casts_are_one_and_exact_ones_lead_back():
    graph = OnnxGraph(21)
    assert graph.cast("x", TensorProto.INT16) == graph.cast("x", TensorProto.INT16)
    integers = graph.cast_exact("y", TensorProto.INT32, TensorProto.FLOAT)
    assert graph.cast(integers, TensorProto.FLOAT) == "y"
    assert [node.op_type for node in graph.nodes] == ["Cast", "Cast"]


def test_one_dimension_may_be_symbolic():
    assert fixed((any_batch(), 3, 4)) == [-1, 3, 4]
    with pytest.raises(NotInOnnx, match="does not know reshapes to"):
        fixed((any_batch(), 3, 2 * any_batch()))


def test_new_dimensions_of_a_broadcast_are_ones():
    x = jax.ShapeDtypeStruct((3, 1), jnp.float32)
    graph = trace(lambda _, x: jax.lax.broadcast_in_dim(x, (2, 3, 5, 7), (1, 3)), {}, x)
    assert unit_shape(graph.ops[0]) == [1, 3, 1, 1]


def test_a_number_for_each_channel_is_repeated_along_a_row_by_the_runtime():
    graph = OnnxGraph(17)
    numbers = np.arange(5, dtype=np.float32)
    long, short = (graph.node("Add", ["x", graph.row(numbers, width)]) for width in (4, None))
    assert graph.row(numbers, 4) == graph.row(numbers.copy(), 4)
    assert max(len(t.raw_data) for t in graph.initializers.values()) == numbers.nbytes
    for output in (long, short):
        np.testing.assert_array_equal(run_nodes(graph, output, X), X + numbers)
    same = graph.row(np.full(5, 7, np.float32), 4)
    assert numpy_helper.to_array(graph.initializers[same]).shape == ()


def test_only_what_outputs_need_is_used():
    graph = OnnxGraph(17)
    needed = graph.node("Add", ["x", graph.constant(np.float32(1))])
    graph.node("Mul", [needed, graph.constant(np.float32(2))])
    output = graph.node("Neg", [needed])
    nodes, constants = graph.used([output])
    assert [node.op_type for node in nodes] == ["Add", "Neg"]
    assert [numpy_helper.to_array(tensor) for tensor in constants] == [1]
