"""Carries out an integer program in JAX."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from n2uq_jax.arithmetic.padding import pad_small_maps
from n2uq_jax.export.program.interpreter import Interpreter
from n2uq_jax.export.thresholds.thresholds import Thresholds
from n2uq_jax.export.trace.graph import Op, Value, read
from n2uq_jax.export.trace.network import TracedNetwork
from n2uq_jax.export.trace.products import Product
from n2uq_jax.export.trace.quantizer import Quantizer, Source
from n2uq_jax.export.trace.ranges import Range, is_integer
from n2uq_jax.primitives import IDENTITIES

Tensors = Mapping[str, Any]
"""Arrays of a program by name."""

_INT8, _INT32 = (Range.of_dtype(dtype) for dtype in (np.int8, np.int32))


class Execution(Interpreter):
    """Runs a program in JAX; integer values are held as integers.

    Args:
      network: the network's trace for these images.
      tensors: weight codes, and what is left of the parameters.
      thresholds: of the folded quantizers.
      images: what the network is evaluated on.
    """

    def __init__(
        self,
        network: TracedNetwork,
        tensors: Tensors,
        thresholds: Mapping[str, Thresholds],
        images: jax.Array,
    ):
        super().__init__(network, thresholds)
        self.thresholds = thresholds
        self.env = {value: tensors[name] for name, value in self.constants.items()}
        self.env[network.graph.inputs[0]] = images
        self._converted: dict[Value, jax.Array] = {}

    def results(self) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Carries out the program, and returns its logits and codes.

        Returns:
          The logits, and the codes of every quantizer by name.
        """
        self.walk()
        quantizers = [q for q in self.network.quantizers if q.codes in self.env]
        codes = {q.name: self.env[q.codes] for q in quantizers}
        return self.native(self.network.graph.outputs[0]), codes

    def apply_thresholds(self, quantizer: Quantizer, source: Source) -> None:
        """Compares integers."""
        codes = self.thresholds[quantizer.name](self.env[source.value])
        self.env[quantizer.codes] = self._narrow(codes, quantizer.codes).reshape(
            quantizer.codes.shape
        )

    def multiply(self, product: Product) -> None:
        """Sums products in int32.

        Args:
          product: its operands are in the environment already.
        """
        x, weight = (self.env[value] for value in product.op.inputs)
        narrow = x.dtype == jnp.int8 and weight.dtype == jnp.int8
        operand = jnp.int8 if narrow else jnp.int32
        x, weight = x.astype(operand), weight.astype(operand)
        params = {**product.bilinear.params, "preferred_element_type": jnp.dtype(jnp.int32)}
        if product.bilinear.name == "conv_general_dilated":
            axes, kernel_axes, _ = (spec[2:] for spec in params["dimension_numbers"])
            window = [weight.shape[axis] for axis in kernel_axes]
            x, params["padding"] = pad_small_maps(
                x, window, params["padding"], params["lhs_dilation"], axes
            )
        self.env[product.accumulator] = product.bilinear.primitive.bind(x, weight, **params)

    def integers(self, op: Op) -> None:
        """Computes in the network's own integer dtype, or in int32 what it holds in floats.

        Args:
          op: the operation, with its inputs computed already.
        """
        (out,) = op.outputs
        if op.name in IDENTITIES or op.name == "convert_element_type":
            result = jnp.asarray(read(self.env, op.inputs[0]))
        else:
            result = op(*map(self._as_integers, op.inputs))[0]
        self.env[out] = self._narrow(result, out)

    def compute(self, op: Op) -> None:
        """Computes as the network does.

        Args:
          op: the operation, with its inputs computed already.
        """
        operands = [self.native(value) for value in op.inputs]
        for value, result in zip(op.outputs, op(*operands), strict=True):
            if value in self.network.ranges:
                result = self._narrow(result, value)
            elif value in self.network.shared:
                result = lax.optimization_barrier(result)
            self.env[value] = result

    def native(self, value: Value) -> jax.Array:
        """Returns a value in the dtype that the network has it in.

        Args:
          value: of the trace, computed already.
        """
        held = read(self.env, value)
        if held.dtype == value.aval.dtype:
            return held
        if value not in self._converted:
            # As in the network, where the sums and codes stand behind a barrier.
            converted = lax.optimization_barrier(held.astype(value.aval.dtype))
            self._converted[value] = converted
        return self._converted[value]

    def _as_integers(self, value: Value) -> jax.Array:
        held = jnp.asarray(read(self.env, value))
        if held.dtype == np.bool_:
            return held
        return held.astype(value.aval.dtype if is_integer(value) else jnp.int32)

    def _narrow(self, integers: jax.Array, value: Value) -> jax.Array:
        """Stores integers in the narrowest dtype that products take."""
        if value.aval.dtype == np.bool_:
            return integers.astype(np.bool_)
        held = self.network.ranges[value]
        if held.within(_INT8):
            return integers.astype(jnp.int8)
        return integers.astype(jnp.int32 if held.within(_INT32) else value.aval.dtype)
