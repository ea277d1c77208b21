"""Runs the nodes of an unfinished graph."""

import onnxruntime
from onnx import helper


def run_nodes(graph, output, x):
    """Returns a tensor of a graph whose input is ``x``, by ONNX Runtime."""
    value = helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
    result = helper.make_empty_tensor_value_info(output)
    made = helper.make_graph(graph.nodes, "g", [value], [result], list(graph.initializers.values()))
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run([output], {"x": x})[0]
