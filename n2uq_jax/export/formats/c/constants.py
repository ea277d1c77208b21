"""Constants of generated C: arrays, and initializers of structures."""

import math
from collections.abc import Iterable

import numpy as np

from n2uq_jax.export.formats.c.weights import LANES


class Constants:
    """Collects definitions of constants.

    Attributes:
      lines: of C, in order.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._count = 0

    def name(self, kind: str) -> str:
        """Returns a name that no other constant has."""
        self._count += 1
        return f"{kind}_{self._count}"

    def define(self, kind: str, fields: str) -> str:
        """Defines a structure.

        Args:
          kind: its type, and how its name begins.
          fields: its initializer.

        Returns:
          Its name.
        """
        name = self.name(kind)
        self.lines.append(f"static const {kind} {name} = {fields};")
        return name

    def array(self, kind: str, ctype: str, literals: Iterable[str]) -> str:
        """Defines an array.

        Args:
          kind: how its name begins.
          ctype: of its elements.
          literals: its elements.

        Returns:
          Its name.
        """
        name = self.name(kind)
        rows, row = [], ""
        for literal in literals:
            if len(row) + len(literal) > 96:
                rows.append(row.rstrip())
                row = ""
            row += f"{literal}, "
        rows.append(row.rstrip())
        body = "\n    ".join(rows)
        self.lines.append(f"static const {ctype} {name}[] = {{\n    {body}\n}};")
        return name

    def integers(self, kind: str, values: np.ndarray) -> str:
        """Defines an array of int32 from integers of any shape."""
        return self.array(kind, "int32_t", map(_literal, values.ravel().tolist()))

    def per_channel(self, kind: str, values: np.ndarray, grouped: bool) -> str:
        """Defines an array whose last axis, the channels, has room for whole vectors.

        Args:
          kind: how its name begins.
          values: integers; zeros fill their last axis.
          grouped: whether vectors may begin at any channel.
        """
        return self.integers(kind, filled_up(values, grouped))

    def floats(self, kind: str, values: np.ndarray) -> str:
        """Defines an array of floats from float32 of any shape."""
        return self.array(kind, "float", map(float_literal, values.ravel().tolist()))


def filled_up(values: np.ndarray, grouped: bool) -> np.ndarray:
    """Fills the last axis with zeros, so that whole vectors can be read.

    Args:
      values: of any shape and dtype.
      grouped: whether vectors may begin at any channel: a group's last block does, and is read as a
        whole.
    """
    room = -values.shape[-1] % LANES + (LANES if grouped else 0)
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, room)])


def struct(**fields: object) -> str:
    """Returns the initializer of a structure."""
    return "{" + ", ".join(f".{key} = {value}" for key, value in fields.items()) + "}"


def float_literal(value: float) -> str:
    """Returns a float32 in C, exactly.

    Args:
      value: a float32.
    """
    value = float(value)
    if math.isnan(value):
        return "(0.0f / 0.0f)"
    if math.isinf(value):
        return "(1.0f / 0.0f)" if value > 0 else "(-1.0f / 0.0f)"
    return f"({value.hex()}f)" if math.copysign(1, value) < 0 else f"{value.hex()}f"


def _literal(value: int) -> str:
    # There are no negative literals, and 2147483648 is none of int32.
    return "INT32_MIN" if value == -(2**31) else str(value)
