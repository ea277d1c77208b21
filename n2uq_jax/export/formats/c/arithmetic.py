"""Float arithmetic as C: a function for each chain of operations, from the table of primitives."""

import re

import jax
import numpy as np

from n2uq_jax.export.formats.c.constants import Constants, filled_up, float_literal, struct
from n2uq_jax.export.formats.c.layers import Operation
from n2uq_jax.export.formats.c.plan import OnTile
from n2uq_jax.primitives import known

MAX_INPUTS = 8
"""As in ``kernels/network.h``."""

GUARD = """\
#ifdef __FAST_MATH__
#error "floats are to round as IEEE 754 says: compile without -ffast-math"
#endif"""


def define_arithmetic(
    constants: Constants,
    stage: OnTile,
    references: list[str],
    *,
    grouped: bool,
    tile_is_float: bool,
) -> str:
    """Defines an ``arithmetic`` of ``kernels/network.h``, and its function.

    Args:
      constants: to add to.
      stage: the arithmetic.
      references: to the inputs that the tile does not hold, in C.
      grouped: whether vectors may begin at any channel.
      tile_is_float: whether the tile holds floats in front of it.

    Returns:
      The structure's name.

    Raises:
      ValueError: if C has no counterpart of an operation, or there are too many inputs.
    """
    layer = stage.layer
    if len(layer.inputs) > MAX_INPUTS:
        raise ValueError(
            f"the format c computes with at most {MAX_INPUTS} values at a time, "
            f"and {layer.output!r} reads {len(layer.inputs)}."
        )
    values = [f"in[{j}][p][i]" for j in range(len(layer.inputs))]
    arrays: list[str] = []
    for constant in layer.constants:
        if (constant == constant[:1]).all() or np.isnan(constant).all():
            values.append(float_literal(constant[0]))
        else:
            name = constants.floats("parameters", filled_up(constant, grouped))
            values.append(f"c{len(arrays)}[i]")
            arrays.append(name)
    body = []
    for number, operation in enumerate(layer.operations):
        kind = "int32_t" if operation.op.outputs[0].aval.dtype == np.bool_ else "float"
        expression = _expression(operation, [values[k] for k in operation.operands])
        body.append(f"const {kind} v{number} = {expression};")
        values.append(f"v{number}")
    body.append(f"out[p][i] = {values[-1]};")
    name = constants.name("compute")
    constants.lines.append(_function(name, arrays, body))
    read = iter(references)
    inputs = ("NULL" if n == stage.held else next(read) for n in layer.inputs)
    return constants.define(
        "arithmetic",
        struct(
            inputs=f"{{{', '.join(inputs)}}}",
            count=len(layer.inputs),
            tile_is_float=int(tile_is_float),
            makes_codes=int(layer.codes is not None),
            compute=f"COMPUTE({name})",
        ),
    )


def includes(lines: list[str]) -> list[str]:
    """Returns what the functions among some lines of C need in front of them.

    Args:
      lines: of C.
    """
    text = "\n".join(lines)
    if "COMPILED(" not in text:
        return []
    needs_math = re.search(r"\b(?!sizeof)[a-z0-9]+f\(", text)
    return [GUARD, *(["#include <math.h>"] if needs_math else [])]


def _function(name: str, arrays: list[str], body: list[str]) -> str:
    lines = [
        f"INLINE void {name}_on(const float (*in)[MAX_PIXELS][LANES], int32_t channel,",
        "    int32_t pixels, float (*restrict out)[LANES]) {",
    ]
    if not arrays:
        lines.append("  (void)channel;")
    for number, array in enumerate(arrays):
        lines.append(f"  float c{number}[LANES];")
        lines.append(f"  memcpy(c{number}, {array} + channel, sizeof c{number});")
    lines += ["  for (int32_t p = 0; p < pixels; p++)", "    for (int32_t i = 0; i < LANES; i++) {"]
    lines += [f"      {line}" for line in body]
    return "\n".join([*lines, "    }", "}", f"COMPILED({name})"])


def _expression(operation: Operation, operands: list[str]) -> str:
    op = operation.op
    if op.name == "convert_element_type":
        return f"(float){operands[0]}"
    template = known(op.name).c
    if op.name == "select_n" and len(operands) != 3:
        template = ""
    if (
        op.name == "round"
        and op.params["rounding_method"] != jax.lax.RoundingMethod.TO_NEAREST_EVEN
    ):
        template = ""
    if op.name == "integer_pow" and op.params["y"] != 2:
        template = ""
    if not template:
        raise ValueError(f"the format c does not know the float operation {op.name}.")
    return template.format(*operands)
