"""Carries out an integer program in JAX."""

from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from n2uq_jax.export.program.interpreter import Interpreter
from n2uq_jax.export.thresholds.thresholds import apply
from n2uq_jax.export.trace.graph import Op, Value, read
from n2uq_jax.export.trace.network import Product, Quantizer, TracedNetwork

Tensors = Mapping[str, Any]
"""Arrays of a program by name."""


class Execution(Interpreter):
    """Runs a program in JAX; integer values are held as integers."""

    def __init__(
        self, network: TracedNetwork, folded: Collection[str], tensors: Tensors, images: jax.Array
    ):
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
        """Computes as the network does."""
        operands = [self.floats(value) for value in op.inputs]
        for value, result in zip(op.outputs, op(*operands), strict=True):
            if value in self.network.ranges:
                result = self._narrow(result, value)
            elif value in self.network.shared:
                result = lax.optimization_barrier(result)
            self.env[value] = result

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


def threshold_tensors(tensors: Tensors, quantizer: str) -> dict[str, Any]:
    """Returns the arrays ``points``, ``steps`` and ``base`` of a folded quantizer."""
    return {key: tensors[f"{quantizer}/{key}"] for key in ("points", "steps", "base")}
