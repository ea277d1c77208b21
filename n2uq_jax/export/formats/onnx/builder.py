"""Builds ONNX graphs: nodes, constants, and the float operations that both ONNX formats share."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from n2uq_jax.export.program.interpreter import Interpreter
from n2uq_jax.export.program.program import IntegerProgram
from n2uq_jax.export.trace.graph import Op, Value
from n2uq_jax.export.trace.model import any_batch
from n2uq_jax.export.trace.primitives import IDENTITIES, MOVES, known

OPSET = 17

_REDUCTIONS = {"reduce_sum": "ReduceSum", "reduce_max": "ReduceMax", "reduce_min": "ReduceMin"}


class NotInOnnx(ValueError):
    """The float part of a network uses an operation that the ONNX export does not know."""


class OnnxBuilder(Interpreter):
    """Carries out a program's float arithmetic as ONNX nodes.

    Arrays keep the network's layout, channels last. What does not depend on the images is computed
    here and becomes a constant.

    Args:
      program: the integer program.
      batch_size: what the model says of its batch: a number, or None for any.
    """

    def __init__(self, program: IntegerProgram, batch_size: int | None = None):
        self.batch = "batch" if batch_size is None else batch_size
        network = program.network(any_batch())
        super().__init__(network, program.folded)
        self.program = program
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.arrays: dict[Value, np.ndarray] = {
            value: np.asarray(program.tensors[name]) for name, value in self.constants.items()
        }
        self.names: dict[Value, str] = {network.graph.inputs[0]: "images"}
        self._constants: dict[Any, str] = {}

    def model(self, *, outputs: dict[str, Value], extra_opsets: dict[str, int] | None = None):
        """Returns the finished model.

        Args:
          outputs: what the model returns, besides the logits under ``"logits"``.
          extra_opsets: versions of further operator domains.

        Returns:
          An ``onnx.ModelProto``.
        """
        self.walk()
        results = []
        for name, value in {"logits": self.network.graph.outputs[0], **outputs}.items():
            held = self.floats(value) if name == "logits" else self.codes(value)
            self.nodes.append(helper.make_node("Identity", [held], [name], name=name))
            kind = TensorProto.FLOAT if name == "logits" else self.code_type(value)
            results.append(helper.make_tensor_value_info(name, kind, self._shape(value.shape)))
        images = helper.make_tensor_value_info(
            "images", TensorProto.FLOAT, [self.batch, *self.program.image_shape]
        )
        graph = helper.make_graph(
            self.nodes, "n2uq", [images], results, list(self.initializers.values())
        )
        opsets = {"": OPSET, **(extra_opsets or {})}
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid(k, v) for k, v in opsets.items()],
            producer_name="n2uq_jax",
            ir_version=8,
        )
        return model

    def codes(self, value: Value) -> str:
        """Returns the name of a tensor, channels last, that holds integer codes."""
        return self.names[value]

    def code_type(self, value: Value) -> int:
        """Returns the ONNX element type in which integer codes are held."""
        raise NotImplementedError

    def floats(self, value: Value) -> str:
        """Returns the name of a float32 tensor, channels last, that holds ``value``."""
        raise NotImplementedError

    def _shape(self, shape: Sequence[Any]) -> list[int | str]:
        return [d if isinstance(d, int) else self.batch for d in shape]

    def node(self, operator: str, inputs: Sequence[str], *, hint: str = "", **attributes) -> str:
        """Adds a node with one output, and returns that output's name."""
        output = f"{hint or operator}_{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(operator, list(inputs), [output], name=output, **attributes)
        )
        return output

    def constant(self, array: Any, hint: str = "constant") -> str:
        """Adds a constant, and returns its name."""
        array = np.asarray(array)
        key = (hint, array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"{hint}_{len(self.initializers)}"
            self.initializers[name] = numpy_helper.from_array(array, name)
            self._constants[key] = name
        return self._constants[key]

    def compute(self, op: Op) -> None:
        """Adds the nodes of a float operation, or of one of this library's own."""
        if op.primitive is None:
            for inner in op.body:
                self.compute(inner)
            return
        if all(v.constant is not None or v in self.arrays for v in op.inputs):
            self._fold_constants(op)
            return
        if len(op.outputs) != 1:
            raise NotInOnnx(f"ONNX export does not know {op.name} with {len(op.outputs)} results.")
        self.names[op.outputs[0]] = self._float_node(op)

    def _fold_constants(self, op: Op) -> None:
        operands = [self._array(v) for v in op.inputs]
        value = op.outputs[0]
        if op.name == "broadcast_in_dim" and any(not isinstance(d, int) for d in value.shape):
            # Spread over the batch: what reads it broadcasts.
            self.arrays[value] = np.reshape(operands[0], _unit_shape(op))
            return
        for result, array in zip(op.outputs, op(*map(jnp.asarray, operands)), strict=True):
            self.arrays[result] = np.asarray(array)

    def _array(self, value: Value) -> np.ndarray:
        """Returns a value that does not depend on the images."""
        held = self.arrays[value] if value.constant is None else value.constant
        return np.asarray(held, value.aval.dtype)

    def _operand(self, value: Value) -> str:
        if value.constant is None and value not in self.arrays:
            return self.floats(value)
        return self.constant(self._array(value))

    def _float_node(self, op: Op) -> str:
        out = op.outputs[0]
        name = op.name
        if name in MOVES and name not in ("convert_element_type", *IDENTITIES):
            return self.move_node(op, [self._operand(v) for v in op.inputs])
        inputs = [self._operand(v) for v in op.inputs]
        if operator := known(name).onnx:
            return self.node(operator, inputs)
        if name in IDENTITIES and len(inputs) == 1:
            return inputs[0]
        if name == "ne":
            return self.node("Not", [self.node("Equal", inputs)])
        if name == "rsqrt":
            return self.node("Reciprocal", [self.node("Sqrt", inputs)])
        if name == "square":
            return self.node("Mul", [inputs[0], inputs[0]])
        if name == "integer_pow" and op.params["y"] > 0:
            exponent = self.constant(np.asarray(op.params["y"], out.aval.dtype))
            return self.node("Pow", [inputs[0], exponent])
        if name == "round" and int(op.params["rounding_method"]) == 1:
            return self.node("Round", inputs)
        if name == "select_n" and len(inputs) == 3:
            return self.node("Where", [inputs[0], inputs[2], inputs[1]])
        if name == "clamp":
            low, x, high = inputs
            return self.node("Min", [self.node("Max", [x, low]), high])
        if name == "convert_element_type":
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(op.params["new_dtype"]))
            return self.node("Cast", inputs, to=kind)
        if name in _REDUCTIONS:
            return self._reduce(op, inputs[0])
        if name == "reduce_window_max":
            return self._max_pool(op, inputs[0])
        if name == "dot_general":
            return self._matmul(op, inputs)
        if name == "conv_general_dilated":
            return self._conv(op, inputs)
        raise NotInOnnx(f"ONNX export does not know the float operation {name}.")

    def move_node(self, op: Op, inputs: list[str]) -> str:
        """Adds the node of an operation that only moves elements."""
        shape = op.outputs[0].shape
        if op.name in ("reshape", "squeeze", "expand_dims"):
            return self.reshape(inputs[0], shape)
        if op.name == "broadcast_in_dim":
            return self._broadcast(op, inputs[0])
        if op.name == "transpose":
            return self.node("Transpose", inputs, perm=list(op.params["permutation"]))
        if op.name == "concatenate":
            return self.node("Concat", inputs, axis=op.params["dimension"])
        if op.name == "slice":
            start, limit = op.params["start_indices"], op.params["limit_indices"]
            return self.slice(inputs[0], start, limit, op.params["strides"], op.inputs[0].shape)
        if op.name == "pad" and all(min(a, b) >= 0 == c for a, b, c in op.params["padding_config"]):
            low, high, _ = zip(*op.params["padding_config"], strict=True)
            amounts = self.constant(np.asarray([*low, *high], np.int64))
            return self.node("Pad", [inputs[0], amounts, inputs[1]])
        raise NotInOnnx(f"ONNX export does not know {op.name} with {dict(op.params)}.")

    def reshape(self, x: str, shape: Sequence[Any]) -> str:
        """Adds a Reshape; one dimension may be symbolic."""
        return self.node("Reshape", [x, self.constant(np.asarray(fixed(shape), np.int64))])

    def slice(self, x: str, start, limit, strides, shape) -> str:
        """Adds a Slice of the axes that it changes."""
        strides = strides or (1,) * len(shape)
        axes = [
            i for i in range(len(shape)) if (start[i], strides[i]) != (0, 1) or limit[i] != shape[i]
        ]
        if not axes:
            return x
        arrays = ([v[i] for i in axes] for v in (start, limit, range(len(shape)), strides))
        return self.node("Slice", [x, *(self.constant(np.asarray(a, np.int64)) for a in arrays)])

    def _broadcast(self, op: Op, x: str) -> str:
        x = self.node("Reshape", [x, self.constant(np.asarray(fixed(_unit_shape(op)), np.int64))])
        shape = op.outputs[0].shape
        if all(isinstance(d, int) for d in shape):
            return self.node("Expand", [x, self.constant(np.asarray(shape, np.int64))])
        return x  # what reads it broadcasts over the batch

    def _reduce(self, op: Op, x: str) -> str:
        axes = list(op.params["axes"])
        if op.name == "reduce_sum":
            inputs = [x, self.constant(np.asarray(axes, np.int64))]
            return self.node("ReduceSum", inputs, keepdims=0)
        return self.node(_REDUCTIONS[op.name], [x], axes=axes, keepdims=0)

    def _max_pool(self, op: Op, x: str) -> str:
        params = op.params
        window, strides, padding = (
            params[k] for k in ("window_dimensions", "window_strides", "padding")
        )
        dilated = {*params["base_dilation"], *params["window_dilation"]} != {1}
        outer = (window[0], window[-1], strides[0], strides[-1])
        if dilated or outer != (1, 1, 1, 1):
            raise NotInOnnx(f"ONNX export does not know reduce_window_max with {dict(params)}.")
        low, high = zip(*padding[1:-1], strict=True)
        pooled = self.node(
            "MaxPool",
            [self.channels_first(x, len(window))],
            kernel_shape=list(window[1:-1]),
            strides=list(strides[1:-1]),
            pads=[*low, *high],
        )
        return self.channels_last(pooled, len(window))

    def _matmul(self, op: Op, inputs: list[str]) -> str:
        (left, right), batch = op.params["dimension_numbers"]
        rank = len(op.inputs[0].shape)
        if tuple(left) != (rank - 1,) or tuple(right) != (0,) or batch != ((), ()):
            raise NotInOnnx("ONNX export knows dot_general of (..., n) with (n, m) only.")
        return self.node("MatMul", inputs)

    def _conv(self, op: Op, inputs: list[str]) -> str:
        params, dims = op.params, op.params["dimension_numbers"]
        if set(params["lhs_dilation"]) != {1} or params["batch_group_count"] != 1:
            raise NotInOnnx("ONNX export does not know transposed or batch-grouped convolutions.")
        x = self.node("Transpose", [inputs[0]], perm=list(dims.lhs_spec))
        kernel = self.node("Transpose", [inputs[1]], perm=list(dims.rhs_spec))
        low, high = zip(*params["padding"], strict=True)
        y = self.node(
            "Conv",
            [x, kernel],
            strides=list(params["window_strides"]),
            dilations=list(params["rhs_dilation"]),
            pads=[*low, *high],
            group=params["feature_group_count"],
        )
        return self.node("Transpose", [y], perm=np.argsort(dims.out_spec).tolist())

    def channels_first(self, x: str, rank: int) -> str:
        """Moves the last axis of a tensor behind its first."""
        perm = [0, rank - 1, *range(1, rank - 1)]
        return self.node("Transpose", [x], perm=perm) if rank > 2 else x

    def channels_last(self, x: str, rank: int) -> str:
        """Moves the second axis of a tensor to its end."""
        perm = [0, *range(2, rank), 1]
        return self.node("Transpose", [x], perm=perm) if rank > 2 else x


def fixed(shape: Sequence[Any]) -> list[int]:
    """Returns a shape for Reshape, its symbolic dimension as -1."""
    dims = [d if isinstance(d, int) else -1 for d in shape]
    if dims.count(-1) > 1:
        raise NotInOnnx(f"ONNX export does not know reshapes to {tuple(shape)}.")
    return dims


def _unit_shape(op: Op) -> list[Any]:
    """Returns the operand's shape of a broadcast, with ones for the dimensions that are new."""
    shape: list[Any] = [1] * len(op.outputs[0].shape)
    for axis, size in zip(op.params["broadcast_dimensions"], op.inputs[0].shape, strict=True):
        shape[axis] = size
    return shape
