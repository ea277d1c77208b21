"""The layers that stay float, such as the first convolution and the head, in int8 instead."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from n2uq_jax.export.program import LARGEST, Execution, IntegerProgram, Tensors, float_product
from n2uq_jax.export.trace import Op


def to_int8(program: IntegerProgram, ranges: dict[str, float]) -> IntegerProgram:
    r"""Replaces the float products of a program by products of int8 codes.

    .. math:: y = \left(\sum k_x k_w\right) \cdot s_x s_c, \quad
        k_x = \mathrm{round}(x / s_x), \; k_w = \mathrm{round}(w / s_c)

    One step :math:`s_x` a layer, one :math:`s_c` an output channel. This is not exact.

    Args:
      program: exact or in fixed point.
      ranges: from :func:`input_ranges`.

    Returns:
      The program with int8 kernels for the float ones.
    """
    network = program.network(jnp.zeros((1, *program.image_shape), jnp.float32))
    names = {value: name for name, value in network.constants.items()}
    tensors = dict(program.tensors)
    for op in network.live(program.folded)[0]:
        name = float_product(op, names)
        if name is None:
            continue
        kernel = np.asarray(tensors.pop(name))
        axis = _output_axis(op)
        others = tuple(i for i in range(kernel.ndim) if i != axis)
        largest = np.abs(kernel).max(others, keepdims=True)
        step = np.where(largest > 0, largest, 1).astype(np.float32) / np.float32(LARGEST)
        input_step = np.asarray(ranges[name] / LARGEST, np.float32)
        tensors[f"{name}/weight"] = np.round(kernel / step).astype(np.int8)
        tensors[f"{name}/step"] = (step * input_step).ravel()
        tensors[f"{name}/input_step"] = input_step
    return dataclasses.replace(program, tensors=tensors)


def input_ranges(program: IntegerProgram, images: np.ndarray) -> dict[str, float]:
    """Measures what enters the float products of a program.

    Args:
      program: the exact program.
      images: shape ``(n, *image_shape)``.

    Returns:
      The largest magnitude that enters each product, by the name of its kernel.
    """

    @jax.jit
    def measure(tensors: Tensors, images: jax.Array) -> dict[str, jax.Array]:
        execution = _Recording(program.network(images), program.folded, tensors, images)
        execution.results()
        return execution.largest

    return {name: float(v) or 1.0 for name, v in measure(program.tensors, images).items()}


class _Recording(Execution):
    """Runs a program and remembers how large the inputs of its float products are."""

    def __init__(self, *args: Any):
        super().__init__(*args)
        self.largest: dict[str, jax.Array] = {}

    def compute(self, op: Op) -> None:
        name = float_product(op, self.names)
        if name is not None:
            self.largest[name] = jnp.max(jnp.abs(self.floats(op.inputs[0])))
        super().compute(op)


def _output_axis(op: Op) -> int:
    """Returns the axis of a kernel that counts the outputs."""
    if op.name == "conv_general_dilated":
        return op.params["dimension_numbers"].rhs_spec[0]
    (_, contracted), (_, batch) = op.params["dimension_numbers"]
    (axis,) = set(range(len(op.inputs[1].shape))) - {*contracted, *batch}
    return axis
