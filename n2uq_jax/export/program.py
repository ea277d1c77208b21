"""The integer program: products and thresholds on integers, and the float rest as it was."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from n2uq_jax.export.interpreter import Interpreter
from n2uq_jax.export.network import Network, Product, Quantizer
from n2uq_jax.export.reference import Function
from n2uq_jax.export.thresholds import apply
from n2uq_jax.export.trace import Op, Value, read, trace

Tensors = Mapping[str, Any]
"""Arrays of a program by name."""

LARGEST = 127
"""Codes of int8 products lie in -127..127."""


@dataclasses.dataclass(frozen=True)
class IntegerProgram:
    """A network whose products and thresholds run on integers.

    Calling it maps images to logits. Residual sums, the first convolution, pooling and the head
    are the network's own float arithmetic; everything else is integer.

    Args:
      function: the network, ``function(parameters, images)``; the program follows its trace.
      parameters: shapes and dtypes of the network's parameters. Their values are not kept.
      tensors: integer weight codes, integer thresholds, and the float parameters that are left.
      folded: the quantizers that became integer thresholds, with their levels.
      unfolded: the other quantizers, and why.
      image_shape: ``(height, width, channels)``.
    """

    function: Function
    parameters: Mapping[str, jax.ShapeDtypeStruct]
    tensors: Mapping[str, np.ndarray]
    folded: Mapping[str, int]
    unfolded: Mapping[str, str]
    image_shape: tuple[int, ...]

    def __call__(self, images: jax.Array | np.ndarray) -> jax.Array:
        """Returns the logits of ``images``, shape ``(batch, *image_shape)``."""
        return self._jitted(self.tensors, images)[0]

    def codes(self, images: jax.Array | np.ndarray) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Returns the logits, and the codes of every quantizer by name."""
        return self._jitted(self.tensors, images)

    def network(self, images: Any) -> Network:
        """Returns the network's trace for images of a shape, which may be symbolic."""
        return Network(trace(self.function, self.parameters, images))

    def run(self, tensors: Tensors, images: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Executes the program; a pure function, for ``jax.jit`` and ``jax.export``.

        Args:
          tensors: arrays with the names and shapes of ``self.tensors``.
          images: shape ``(batch, *image_shape)``.

        Returns:
          Logits, and the integer codes of every quantizer by name.
        """
        return Execution(self.network(images), self.folded, tensors, images).results()

    @functools.cached_property
    def _jitted(self) -> Callable:
        return jax.jit(self.run)


class Execution(Interpreter):
    """Runs a program in JAX; integer values are held as integers."""

    def __init__(self, network: Network, folded, tensors: Tensors, images: jax.Array):
        super().__init__(network, folded)
        self.tensors = tensors
        self.names = {v: name for name, v in self.constants.items()}
        self.env = {v: tensors[name] for v, name in self.names.items() if name in tensors}
        self.env[network.graph.inputs[0]] = images
        self.as_floats: dict[Value, jax.Array] = {}

    def results(self) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Carries out the program, and returns its logits and codes."""
        self.walk()
        quantizers = [q for q in self.network.quantizers if q.codes in self.env]
        codes = {q.name: self.env[q.codes] for q in quantizers}
        return self.floats(self.network.graph.outputs[0]), codes

    def apply_thresholds(self, quantizer: Quantizer, product: Product) -> None:
        """Compares integer accumulators."""
        arrays = threshold_tensors(self.tensors, quantizer.name)
        codes = self._narrow(apply(arrays, self.env[product.accumulator]), quantizer.codes)
        self.env[quantizer.codes] = codes.reshape(quantizer.codes.shape)

    def multiply(self, product: Product) -> None:
        """Sums products in int32."""
        x, weight = (self.env[value] for value in product.op.inputs)
        narrow = x.dtype == jnp.int8 and weight.dtype == jnp.int8
        operand = jnp.int8 if narrow else jnp.int32
        params = {**product.bilinear.params, "preferred_element_type": jnp.dtype(jnp.int32)}
        self.env[product.accumulator] = product.bilinear.primitive.bind(
            x.astype(operand), weight.astype(operand), **params
        )

    def move(self, op: Op) -> None:
        """Computes in int32."""
        operands = [jnp.asarray(read(self.env, v)).astype(jnp.int32) for v in op.inputs]
        unchanged = op.name in ("convert_element_type", "copy", "name", "optimization_barrier")
        result = operands[0] if unchanged else op(*operands)[0]
        self.env[op.outputs[0]] = self._narrow(result, op.outputs[0])

    def compute(self, op: Op) -> None:
        """Computes as the network does, or with int8 codes where the program has them."""
        kernel = float_product(op, self.names)
        if kernel is not None and f"{kernel}/weight" in self.tensors:
            self.env[op.outputs[0]] = self._int8_product(op, kernel)
            return
        operands = [self.floats(value) for value in op.inputs]
        for value, result in zip(op.outputs, op(*operands), strict=True):
            if value in self.network.ranges:
                result = self._narrow(result, value)
            elif value in self.network.shared:
                result = lax.optimization_barrier(result)
            self.env[value] = result

    def _int8_product(self, op: Op, kernel: str) -> jax.Array:
        weight, step, input_step = (
            self.tensors[f"{kernel}/{key}"] for key in ("weight", "step", "input_step")
        )
        codes = jnp.clip(jnp.round(self.floats(op.inputs[0]) / input_step), -LARGEST, LARGEST)
        params = {**op.params, "preferred_element_type": jnp.dtype(jnp.int32)}
        assert op.primitive is not None
        sums = op.primitive.bind(codes.astype(jnp.int8), weight.astype(jnp.int8), **params)
        return sums.astype(jnp.float32) * step.reshape((1,) * (sums.ndim - 1) + (-1,))

    def _narrow(self, integers: jax.Array, value: Value) -> jax.Array:
        """Stores integers in the narrowest dtype that products take."""
        low, high = self.network.ranges[value]
        return integers.astype(jnp.int8 if low >= -128 and high <= 127 else jnp.int32)

    def floats(self, value: Value) -> jax.Array:
        """Returns a value in the dtype that the network has it in."""
        held = read(self.env, value)
        if held.dtype == value.aval.dtype:
            return held
        if value not in self.as_floats:
            # As in the network, where the sums and codes stand behind a barrier.
            converted = lax.optimization_barrier(held.astype(value.aval.dtype))
            self.as_floats[value] = converted
        return self.as_floats[value]


def float_product(op: Op, names: Mapping[Value, str]) -> str | None:
    """Returns the name of the kernel, if an operation is a float product with a constant kernel.

    Args:
      op: any operation.
      names: the network's constants.

    Returns:
      None for other operations, and where the outputs are not the last axis of the result.
    """
    if op.name == "conv_general_dilated":
        numbers = op.params["dimension_numbers"]
        last = numbers.out_spec[1] == len(op.inputs[0].shape) - 1
    elif op.name == "dot_general":
        (_, contracted), (_, batch) = op.params["dimension_numbers"]
        last = not batch and len(contracted) == len(op.inputs[1].shape) - 1
    else:
        return None
    return names.get(op.inputs[1]) if last else None


def threshold_tensors(tensors: Tensors, quantizer: str) -> dict[str, Any]:
    """Returns the arrays ``points``, ``steps`` and ``base`` of a folded quantizer."""
    return {key: tensors[f"{quantizer}/{key}"] for key in ("points", "steps", "base")}
