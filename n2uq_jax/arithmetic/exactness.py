"""Which number types hold sums of products of codes without rounding."""

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp

from n2uq_jax.quantizers.qarray import QArray

Operands = Literal["float32", "bfloat16", "int8", "int32"]
"""The type that codes are multiplied in; sums are float32 for floats and int32 for integers."""

LARGEST_OPERAND = {
    "float64": 2**53,
    "float32": 2**24,
    "bfloat16": 2**8,
    "float16": 2**11,
    "int32": 2**31 - 1,
    "int8": 2**7 - 1,
}
"""Up to this magnitude every integer is a value of the type."""


def choose_operands(operands: Operands | None, x: QArray | jax.Array, w: QArray, terms: int) -> str:
    r"""Chooses the type in which a product of codes is exact, or checks the one that is named.

    A sum of ``terms`` products is an integer of magnitude at most
    :math:`\text{terms} \cdot \max|a| \cdot \max|b|`. It is exact, in any order, in a float32
    accumulator below :math:`2^{24}`, in float64 below :math:`2^{53}`, in int32 below
    :math:`2^{31}`, as long as both operands are values of the operand type.

    Args:
      operands: the type asked for; None for the dtype of the codes of ``x`` where that is exact
        and int32 elsewhere.
      x: codes, or a plain float array, which is multiplied in its own dtype.
      w: codes.
      terms: number of products in one sum.

    Returns:
      A key of :data:`LARGEST_OPERAND`.

    Raises:
      ValueError: if ``operands`` is no such type, or not exact for these codes; or if None is and
        int32 sums could overflow.
    """
    if not isinstance(x, QArray):
        if operands is not None:
            raise ValueError(f"operands={operands!r} wants codes, but x is a plain float array.")
        return x.dtype.name
    check_operands(operands)
    max_codes = x.max_code, w.max_code
    of_codes = f"{terms} products of codes up to {max_codes[0]} and {max_codes[1]} in magnitude"
    if operands not in (None, "int32"):
        if not _is_exact(operands, max_codes, terms):
            raise ValueError(
                f"operands={operands!r} is not exact for {of_codes}; pass None or 'int32'."
            )
        return operands
    if operands is None and _is_exact(x.codes.dtype.name, max_codes, terms):
        return x.codes.dtype.name
    # Unknown codes are the caller's word: int32 sums are as wide as this library goes.
    if None not in max_codes and not _is_exact("int32", max_codes, terms):
        raise ValueError(
            f"sums of {of_codes} reach 2**31, which int32 does not hold; use fewer bits or sum "
            "fewer products."
        )
    return "int32"


def check_operands(operands: Any) -> None:
    """Raises if ``operands`` is neither None nor one of :data:`Operands`.

    Args:
      operands: the value to check.

    Raises:
      ValueError: if it is something else.
    """
    if operands is not None and operands not in get_args(Operands):
        raise ValueError(
            f"operands must be None, 'float32', 'bfloat16', 'int8' or 'int32', got {operands!r}."
        )


def accumulator_dtype(operands: str) -> jnp.dtype:
    """Returns the dtype that sums of products are collected in.

    Args:
      operands: a key of :data:`LARGEST_OPERAND`.

    Returns:
      int32 for integer operands, float64 for float64, else float32.
    """
    if operands.startswith("int"):
        return jnp.dtype(jnp.int32)
    return jnp.dtype(jnp.float64 if operands == "float64" else jnp.float32)


def _is_exact(operands: str, max_codes: tuple[int | None, int | None], terms: int) -> bool:
    if max_codes[0] is None or max_codes[1] is None:
        return False
    largest_sum = terms * max_codes[0] * max_codes[1]
    return (
        max(max_codes[0], max_codes[1]) <= LARGEST_OPERAND[operands]
        and largest_sum <= LARGEST_OPERAND[accumulator_dtype(operands).name]
    )
