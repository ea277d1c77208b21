"""Builds ONNX models: what both ONNX formats share."""

import abc
import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from onnx import TensorProto, helper

from n2uq_jax.export.formats.onnx.graph import NotInOnnx, OnnxGraph, unit_shape
from n2uq_jax.export.formats.onnx.operations import add_integer_operation, add_operation
from n2uq_jax.export.program.interpreter import Interpreter
from n2uq_jax.export.program.program import IntegerProgram
from n2uq_jax.export.trace.graph import Op, Value
from n2uq_jax.export.trace.model import any_batch
from n2uq_jax.export.trace.quantizer import Quantizer
from n2uq_jax.export.trace.ranges import exact

_FIRST_WITH_TWO_BITS = 25


class OnnxBuilder(Interpreter):
    """Carries out a program as ONNX nodes.

    Arrays keep the network's layout, channels last. What does not depend on the images is computed
    here and becomes a constant.

    Args:
      program: the integer program.
      opset: version of the operators.
      batch_size: what the model says of its batch: a number, or None for any.
    """

    def __init__(self, program: IntegerProgram, opset: int, batch_size: int | None = None):
        self.batch = "batch" if batch_size is None else batch_size
        network = program.network(any_batch())
        super().__init__(network, program.folded)
        self.program = program
        self.graph = OnnxGraph(opset)
        self.arrays: dict[Value, np.ndarray] = {
            value: np.asarray(program.tensors[name]) for name, value in self.constants.items()
        }
        self.images = network.graph.inputs[0]
        self._readers = self.readers()

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
            self.graph.nodes.append(helper.make_node("Identity", [held], [name], name=name))
            kind = TensorProto.FLOAT if name == "logits" else self.code_type(value)
            results.append(helper.make_tensor_value_info(name, kind, self._shape(value.shape)))
        images = helper.make_tensor_value_info(
            "images",
            helper.np_dtype_to_tensor_dtype(self.program.traced.image_dtype),
            [self.batch, *self.program.image_shape],
        )
        nodes, constants = self.graph.used([result.name for result in results])
        two_bits = any(tensor.data_type == TensorProto.UINT2 for tensor in constants)
        opset = max(self.graph.opset, _FIRST_WITH_TWO_BITS if two_bits else 0)
        opsets = {"": opset, **(extra_opsets or {})}
        imports = [helper.make_opsetid(k, v) for k, v in opsets.items()]
        return helper.make_model(
            helper.make_graph(nodes, "n2uq", [images], results, constants),
            opset_imports=imports,
            producer_name="n2uq_jax",
            ir_version=helper.find_min_ir_version_for(imports, ignore_unknown=True),
        )

    @abc.abstractmethod
    def codes(self, value: Value) -> str:
        """Returns the name of a tensor, channels last, that holds integer codes."""

    @abc.abstractmethod
    def code_type(self, value: Value) -> int:
        """Returns the ONNX element type of what :meth:`codes` returns."""

    @abc.abstractmethod
    def floats(self, value: Value) -> str:
        """Returns the name of a float32 tensor, or of truth values, channels last."""

    @abc.abstractmethod
    def int32(self, value: Value) -> str:
        """Returns the name of an int32 tensor, or of truth values, channels last."""

    @abc.abstractmethod
    def hold_floats(self, value: Value, name: str) -> None:
        """Remembers the name of the float32 tensor, or of the truth values, of a value."""

    @abc.abstractmethod
    def hold_int32(self, value: Value, name: str) -> None:
        """Remembers the name of the int32 tensor, or of the truth values, of a value."""

    def compute(self, op: Op) -> None:
        """Adds the nodes of a float operation, or of one of this library's own.

        Args:
          op: the operation, with its inputs computed already.
        """
        if op.primitive is None:
            for inner in op.body:
                self.compute(inner)
        elif not self._is_constant(op):
            self._check_single(op)
            inputs = [
                self.graph.constant(self.array(v)) if self._is_given(v) else self.floats(v)
                for v in op.inputs
            ]
            self.hold_floats(op.outputs[0], add_operation(self.graph, op, inputs))

    def integers(self, op: Op) -> None:
        """Adds the nodes of integer arithmetic, in int32.

        Args:
          op: the operation, with its inputs computed already.
        """
        if self._is_constant(op):
            return
        self._check_single(op)
        inputs = [
            self.constant(self._int32_array(v), op) if self._is_given(v) else self.int32(v)
            for v in op.inputs
        ]
        given = [self.array(v) if self._is_given(v) else None for v in op.inputs]
        if op.name == "reduce_window_max" and not self.network.ranges[op.inputs[0]].within(
            exact(np.dtype(np.float32))
        ):
            raise NotInOnnx("ONNX export does not know max-pools beyond the integers of float32.")
        constant = functools.partial(self.constant, op=op)
        result = add_integer_operation(self.graph, op, inputs, given, constant)
        self.hold_int32(op.outputs[0], result)

    def constant(self, array: np.ndarray, op: Op) -> str:
        """Adds a constant operand of integer arithmetic.

        Args:
          array: what it holds.
          op: the operation that reads it.

        Returns:
          Its name.
        """
        return self.graph.constant(array)

    def sole_quantizer(self, value: Value) -> Quantizer | None:
        """Returns the folded quantizer that reads a value, if nothing else does."""
        readers = self._readers.get(value, [])
        alone = len(readers) == 1 and value not in self.network.graph.outputs
        return self._folded.get(readers[0]) if alone else None

    def array(self, value: Value) -> np.ndarray:
        """Returns a value that does not depend on the images."""
        held = self.arrays[value] if value.constant is None else value.constant
        return np.asarray(held, value.aval.dtype)

    def _shape(self, shape: Sequence[Any]) -> list[int | str]:
        return [d if isinstance(d, int) else self.batch for d in shape]

    def _check_single(self, op: Op) -> None:
        if len(op.outputs) != 1:
            raise NotInOnnx(f"ONNX export does not know {op.name} with {len(op.outputs)} results.")

    def _is_given(self, value: Value) -> bool:
        return value.constant is not None or value in self.arrays

    def _int32_array(self, value: Value) -> np.ndarray:
        array = self.array(value)
        return array if array.dtype == np.bool_ else array.astype(np.int32)

    def _is_constant(self, op: Op) -> bool:
        """Computes what does not depend on the images; whether an operation is such."""
        if not all(map(self._is_given, op.inputs)):
            return False
        operands = [self.array(v) for v in op.inputs]
        value = op.outputs[0]
        if op.name == "broadcast_in_dim" and any(not isinstance(d, int) for d in value.shape):
            # Spread over the batch: what reads it broadcasts.
            self.arrays[value] = np.reshape(operands[0], unit_shape(op))
        else:
            for result, array in zip(op.outputs, op(*map(jnp.asarray, operands)), strict=True):
                self.arrays[result] = np.asarray(array)
        return True
