"""One primitive operation as ONNX nodes, on floats or on int32 integers alike."""

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from n2uq_jax.export.formats.onnx.graph import NotInOnnx, OnnxGraph, fixed, unit_shape
from n2uq_jax.export.trace.graph import Op
from n2uq_jax.primitives import IDENTITIES, known

_REDUCTIONS = {"reduce_sum": "ReduceSum", "reduce_max": "ReduceMax", "reduce_min": "ReduceMin"}


def add_operation(graph: OnnxGraph, op: Op, inputs: list[str]) -> str:
    """Adds the nodes of an operation that computes the same on floats and on integers.

    Args:
      graph: to add to.
      op: a primitive operation with one result.
      inputs: names of its operands, channels last.

    Returns:
      The name of the result.

    Raises:
      NotInOnnx: if there is no counterpart.
    """
    if operator := known(op.name).onnx:
        return graph.node(operator, inputs)
    if op.name in IDENTITIES and len(inputs) == 1:
        return inputs[0]
    if op.name not in _OPERATIONS:
        raise NotInOnnx(f"ONNX export does not know the operation {op.name}.")
    return _OPERATIONS[op.name](graph, op, inputs)


def _ne(graph: OnnxGraph, op: Op, inputs: list[str]) -> str:
    return graph.node("Not", [graph.node("Equal", inputs)])


def _square(graph: OnnxGraph, op: Op, inputs: list[str]) -> str:
    return graph.node("Mul", [inputs[0], inputs[0]])


def _integer_pow(graph: OnnxGraph, op: Op, inputs: list[str]) -> str:
    if op.params["y"] <= 0:
        raise NotInOnnx(f"ONNX export does not know the power {op.params['y']}.")
    exponent = graph.constant(np.asarray(op.params["y"], op.outputs[0].aval.dtype))
    return graph.node("Pow", [inputs[0], exponent])


def _rsqrt(graph: OnnxGraph, op: Op, inputs: list[str]) -> str:
    return graph.node("Reciprocal", [graph.node("Sqrt", inputs)])


def _round(graph: OnnxGraph, op: Op, inputs: list[str]) -> str:
    if int(op.params["rounding_method"]) != 1:
        raise NotInOnnx("ONNX export rounds half to even only.")
    return graph.node("Round", inputs)


def _select(graph: OnnxGraph, op: Op, inputs: list[str]) -> str:
    if len(inputs) != 3:
        raise NotInOnnx(f"ONNX export does not know select_n of {len(inputs) - 1} cases.")
    return graph.node("Where", [inputs[0], inputs[2], inputs[1]])


def _clamp(graph: OnnxGraph, op: Op, inputs: list[str]) -> str:
    low, x, high = inputs
    if op.inputs[0].shape == op.inputs[2].shape == ():
        return graph.node("Clip", [x, low, high])
    return graph.node("Min", [graph.node("Max", [x, low]), high])


def _convert(graph: OnnxGraph, op: Op, inputs: list[str]) -> str:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(op.params["new_dtype"]))
    return graph.cast(inputs[0], kind)


def _reshape(graph: OnnxGraph, op: Op, inputs: list[str]) -> str:
    return graph.reshape(inputs[0], op.outputs[0].shape)


def _broadcast(graph: OnnxGraph, op: Op, inputs: list[str]) -> str:
    shape = op.outputs[0].shape
    unit = graph.constant(np.asarray(fixed(unit_shape(op)), np.int64))
    x = graph.node("Reshape", [inputs[0], unit])
    if all(isinstance(d, int) for d in shape):
        return graph.node("Expand", [x, graph.constant(np.asarray(shape, np.int64))])
    return x  # what reads it broadcasts over the batch


def _transpose(graph: OnnxGraph, op: Op, inputs: list[str]) -> str:
    return graph.node("Transpose", inputs, perm=list(op.params["permutation"]))


def _concatenate(graph: OnnxGraph, op: Op, inputs: list[str]) -> str:
    return graph.node("Concat", inputs, axis=op.params["dimension"])


def _slice(graph: OnnxGraph, op: Op, inputs: list[str]) -> str:
    start, limit = op.params["start_indices"], op.params["limit_indices"]
    return graph.slice(inputs[0], start, limit, op.params["strides"], op.inputs[0].shape)


def _pad(graph: OnnxGraph, op: Op, inputs: list[str]) -> str:
    config = op.params["padding_config"]
    if not all(min(a, b) >= 0 == c for a, b, c in config):
        raise NotInOnnx(f"ONNX export does not know pad with {dict(op.params)}.")
    low, high, _ = zip(*config, strict=True)
    amounts = graph.constant(np.asarray([*low, *high], np.int64))
    return graph.node("Pad", [inputs[0], amounts, inputs[1]])


def _reduce(graph: OnnxGraph, op: Op, inputs: list[str]) -> str:
    axes = list(op.params["axes"])
    if op.name == "reduce_sum" or graph.opset >= 18:
        given = graph.constant(np.asarray(axes, np.int64))
        return graph.node(_REDUCTIONS[op.name], [inputs[0], given], keepdims=0)
    return graph.node(_REDUCTIONS[op.name], inputs, axes=axes, keepdims=0)


def _max_pool(graph: OnnxGraph, op: Op, inputs: list[str]) -> str:
    params = op.params
    window, strides, padding = (
        params[k] for k in ("window_dimensions", "window_strides", "padding")
    )
    dilated = {*params["base_dilation"], *params["window_dilation"]} != {1}
    outer = (window[0], window[-1], strides[0], strides[-1])
    if dilated or outer != (1, 1, 1, 1):
        raise NotInOnnx(f"ONNX export does not know reduce_window_max with {dict(params)}.")
    low, high = zip(*padding[1:-1], strict=True)
    pooled = graph.node(
        "MaxPool",
        [graph.channels_first(inputs[0], len(window))],
        kernel_shape=list(window[1:-1]),
        strides=list(strides[1:-1]),
        pads=[*low, *high],
    )
    return graph.channels_last(pooled, len(window))


def _matmul(graph: OnnxGraph, op: Op, inputs: list[str]) -> str:
    (left, right), batch = op.params["dimension_numbers"]
    rank = len(op.inputs[0].shape)
    if tuple(left) != (rank - 1,) or tuple(right) != (0,) or batch != ((), ()):
        raise NotInOnnx("ONNX export knows dot_general of (..., n) with (n, m) only.")
    return graph.node("MatMul", inputs)


def _conv(graph: OnnxGraph, op: Op, inputs: list[str]) -> str:
    params, dims = op.params, op.params["dimension_numbers"]
    if set(params["lhs_dilation"]) != {1} or params["batch_group_count"] != 1:
        raise NotInOnnx("ONNX export does not know transposed or batch-grouped convolutions.")
    x = graph.node("Transpose", [inputs[0]], perm=list(dims.lhs_spec))
    kernel = graph.node("Transpose", [inputs[1]], perm=list(dims.rhs_spec))
    low, high = zip(*params["padding"], strict=True)
    y = graph.node(
        "Conv",
        [x, kernel],
        strides=list(params["window_strides"]),
        dilations=list(params["rhs_dilation"]),
        pads=[*low, *high],
        group=params["feature_group_count"],
    )
    return graph.node("Transpose", [y], perm=np.argsort(dims.out_spec).tolist())


_OPERATIONS: dict[str, Callable[[OnnxGraph, Op, list[str]], str]] = {
    **dict.fromkeys(("reshape", "squeeze", "expand_dims"), _reshape),
    **dict.fromkeys(_REDUCTIONS, _reduce),
    "broadcast_in_dim": _broadcast,
    "clamp": _clamp,
    "concatenate": _concatenate,
    "conv_general_dilated": _conv,
    "convert_element_type": _convert,
    "dot_general": _matmul,
    "integer_pow": _integer_pow,
    "ne": _ne,
    "pad": _pad,
    "reduce_window_max": _max_pool,
    "round": _round,
    "rsqrt": _rsqrt,
    "select_n": _select,
    "slice": _slice,
    "square": _square,
    "transpose": _transpose,
}


# What integers need in other nodes than floats.


def add_integer_operation(
    graph: OnnxGraph,
    op: Op,
    inputs: list[str],
    constants: list[Any],
    constant: Callable[[np.ndarray], str],
) -> str:
    """Adds the nodes of integer arithmetic on int32 tensors.

    Args:
      graph: to add to.
      op: a primitive operation with one result.
      inputs: names of its operands: int32, or truth values.
      constants: the operands that do not depend on the images, as arrays; None for the others.
      constant: adds a constant operand of the operation.

    Returns:
      The name of the result: int32, or truth values.
    """
    if op.name in ("shift_right_arithmetic", "shift_right_logical"):
        return _shift_right(graph, inputs[0], constants[1], constant)
    if op.name == "convert_element_type":
        is_truth = op.inputs[0].aval.dtype == np.bool_
        return graph.cast(inputs[0], TensorProto.INT32) if is_truth else inputs[0]
    if op.name in ("ceil", "floor", "round"):
        return inputs[0]
    if op.name == "reduce_window_max":
        # Runtimes pool floats; the integers are small enough to be exact in them.
        pooled = _max_pool(graph, op, [graph.cast(inputs[0], TensorProto.FLOAT)])
        return graph.cast(pooled, TensorProto.INT32)
    is_truth = op.inputs[0].aval.dtype == np.bool_
    if op.name in ("conv_general_dilated", "dot_general") or (
        op.name in ("and", "or", "not", "xor") and not is_truth
    ):
        raise NotInOnnx(f"ONNX export does not know {op.name} of integers.")
    return add_operation(graph, op, inputs)


def _shift_right(graph: OnnxGraph, x: str, by: Any, constant: Callable[[np.ndarray], str]) -> str:
    """Divides by a power of two and rounds down, modulo 2**32: ``x + 2**31`` is not negative."""
    if by is None:
        raise NotInOnnx("ONNX export does not know shifts that depend on the images.")
    by = np.asarray(by).astype(np.uint32)
    offset = np.asarray(1 << 31, np.uint32)
    biased = graph.node("Add", [graph.cast(x, TensorProto.UINT32), graph.constant(offset)])
    shifted = graph.node("BitShift", [biased, constant(by)], direction="RIGHT")
    back = graph.node("Sub", [shifted, constant(offset >> by)])
    return graph.cast(back, TensorProto.INT32)
