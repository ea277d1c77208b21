"""Runs the nodes of an unfinished graph."""

import onnxruntime
from onnx import helper


def run_nodes(graph, output, x, *, opset=None, optimized=True):
    """Returns a tensor of a graph whose input is ``x``, by ONNX Runtime."""
    value = helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
    result = helper.make_empty_tensor_value_info(output)
    nodes, constants = graph.used([output])
    made = helper.make_graph(nodes, "g", [value], [result], constants)
    imports = [helper.make_opsetid("", opset or graph.opset)]
    version = helper.find_min_ir_version_for(imports)
    model = helper.make_model(made, opset_imports=imports, ir_version=version)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run([output], {"x": x})[0]
