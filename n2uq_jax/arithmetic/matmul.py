"""Matrix products of integer codes, exact in every arithmetic they are run in."""

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax

from n2uq_jax.arithmetic.exactness import Operands, choose_operands
from n2uq_jax.arithmetic.product import exact_sums, scaled_product
from n2uq_jax.quantizers.qarray import QArray
from n2uq_jax.shapes import Array, Float

DimensionNumbers = tuple[
    tuple[tuple[int, ...], tuple[int, ...]], tuple[tuple[int, ...], tuple[int, ...]]
]
"""Contracting and batch axes of both operands, as in ``jax.lax.dot_general``."""


@dataclasses.dataclass(frozen=True)
class DotProduct:
    """A general matrix product with all its static arguments, hashable.

    Args:
      dimension_numbers: as in ``jax.lax.dot_general``.
      operands: the type the codes are multiplied in.
      precision: as in ``jax.lax``; exact sums of codes do not depend on it.
    """

    dimension_numbers: DimensionNumbers
    operands: str = "float32"
    precision: lax.PrecisionLike = None

    def __call__(self, x: jax.Array, w: jax.Array, accumulator: jnp.dtype | None) -> jax.Array:
        """Multiplies as ``jax.lax.dot_general`` does."""
        return lax.dot_general(
            x,
            w,
            self.dimension_numbers,
            precision=self.precision,
            preferred_element_type=accumulator,
        )


def quantized_matmul(
    x: QArray | Float[Array, "*batch inputs"],
    w: QArray,
    *,
    operands: Operands | None = None,
    precision: lax.PrecisionLike = None,
) -> Float[Array, "*batch outputs"]:
    r"""Multiplies a quantized array by a quantized matrix: exact integers, scaled once.

    .. math:: y_c = \Big(\sum_i k_{x,i} \cdot k_{w,ic}\Big) \cdot (s_x \cdot s_{w,c})

    Args:
      x: codes ``(..., in)`` of a float dtype, scale ``()``; or a plain float array, for quantized
        weights alone.
      w: codes ``(in, out)`` of a float dtype, scale ``()`` or ``(out,)``.
      operands: the type the codes are multiplied in; None for the dtype of ``x.codes`` where
        that is exact and int32 elsewhere. NaN codes pass through the float types alone.
      precision: as in ``jax.lax``, for the backward pass and for plain floats; exact sums of codes
        do not depend on it.

    Returns:
      Shape ``(..., out)``, float32 or wider; cast it afterwards.

    Raises:
      ValueError: if the shapes do not fit, or ``operands`` is not exact for these codes.
    """
    return scaled_product(_dot_product(x, w, operands, precision), x, w)


def matmul_sums(
    x: QArray,
    w: QArray,
    *,
    operands: Operands | None = None,
    precision: lax.PrecisionLike = None,
    integer: bool = False,
) -> QArray:
    """Multiplies a quantized array by a quantized matrix and returns the sums with their scale.

    Args:
      x: codes ``(..., in)``, scale ``()``.
      w: codes ``(in, out)``, scale ``()`` or ``(out,)``.
      operands: as in :func:`quantized_matmul`, which multiplies sums and scale.
      precision: as there.
      integer: sums in int32, without a gradient, instead of float32.

    Returns:
      Sums of shape ``(..., out)``, their scale, and a bound of their magnitude.

    Raises:
      ValueError: as there.
    """
    product = _dot_product(x, w, operands, precision)
    return exact_sums(product, x, w, terms=w.shape[0], integer=integer)


def _dot_product(x, w, operands, precision) -> DotProduct:
    if w.ndim != 2 or x.ndim < 1 or x.shape[-1] != w.shape[0]:
        raise ValueError(
            "x must have shape (..., in) and w (in, out) with the same in; "
            f"got {x.shape} and {w.shape}."
        )
    return DotProduct(
        dimension_numbers=(((x.ndim - 1,), (0,)), ((), ())),
        operands=choose_operands(operands, x, w, terms=w.shape[0]),
        precision=precision,
    )
