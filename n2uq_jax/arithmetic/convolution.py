"""Convolution of integer codes, exact in every arithmetic it is run in."""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from n2uq_jax.arithmetic.exactness import Operands, choose_operands
from n2uq_jax.arithmetic.padding import pad_small_maps
from n2uq_jax.arithmetic.product import exact_sums, scaled_product
from n2uq_jax.quantizers.qarray import QArray
from n2uq_jax.shapes import Array, Float


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A channels-last convolution with all its static arguments, hashable.

    Args:
      strides: one a spatial axis.
      padding: ``"SAME"``, ``"VALID"``, or a ``(low, high)`` pair a spatial axis.
      input_dilation: one a spatial axis.
      kernel_dilation: one a spatial axis.
      groups: feature group count.
      operands: the type the codes are multiplied in, a key of
        :data:`~n2uq_jax.arithmetic.exactness.LARGEST_OPERAND`.
      precision: as in ``jax.lax``; exact sums of codes do not depend on it.
    """

    strides: tuple[int, ...]
    padding: str | tuple[tuple[int, int], ...]
    input_dilation: tuple[int, ...]
    kernel_dilation: tuple[int, ...]
    groups: int = 1
    operands: str = "float32"
    precision: lax.PrecisionLike = None

    def __call__(self, x: jax.Array, w: jax.Array, accumulator: jnp.dtype | None) -> jax.Array:
        """Convolves ``(batch, *spatial, in)`` with ``(*window, in / groups, out)``."""
        spatial = "DHW"[-(x.ndim - 2) :]
        padding = self.padding
        if accumulator is not None:
            axes = range(1, x.ndim - 1)
            x, padding = pad_small_maps(x, w.shape[:-2], padding, self.input_dilation, axes)
        return lax.conv_general_dilated(
            x,
            w,
            self.strides,
            padding,
            lhs_dilation=self.input_dilation,
            rhs_dilation=self.kernel_dilation,
            dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
            feature_group_count=self.groups,
            precision=self.precision,
            preferred_element_type=accumulator,
        )


def quantized_conv(
    x: QArray | Float[Array, "batch *spatial inputs"],
    w: QArray,
    *,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    input_dilation: Sequence[int] | None = None,
    kernel_dilation: Sequence[int] | None = None,
    groups: int = 1,
    operands: Operands | None = None,
    precision: lax.PrecisionLike = None,
) -> Float[Array, "batch *windows outputs"]:
    r"""Convolves two quantized arrays: an exact sum of integers, scaled once.

    .. math:: y_c = \Big(\sum k_x \cdot k_w\Big) \cdot (s_x \cdot s_{w,c})

    Differentiation: that of the formula with real ``k_x`` and ``k_w``; the type of the operands
    changes neither value nor gradient.

    Args:
      x: codes ``(batch, *spatial, in)`` of a float dtype, scale ``()``; or a plain float array, for
        quantized weights alone. Padding is 0.
      w: codes ``(*window, in / groups, out)`` of a float dtype, scale ``()`` or ``(out,)``.
      strides: one a spatial axis.
      padding: ``"SAME"``, ``"VALID"``, or a ``(low, high)`` pair a spatial axis.
      input_dilation: one a spatial axis; None for ones.
      kernel_dilation: one a spatial axis; None for ones.
      groups: feature group count.
      operands: the type the codes are multiplied in; None for the dtype of ``x.codes`` where
        that is exact and int32 elsewhere. NaN codes pass through the float types alone.
      precision: as in ``jax.lax``, for the backward pass and for plain floats; exact sums of codes
        do not depend on it.

    Returns:
      Shape ``(batch, *spatial, out)``, float32 or wider; cast it afterwards.

    Raises:
      ValueError: if the ranks do not fit, or ``operands`` is not exact for these codes.
    """
    convolution = _convolution(
        x, w, strides, padding, input_dilation, kernel_dilation, groups, operands, precision
    )
    return scaled_product(convolution, x, w)


def conv_sums(
    x: QArray,
    w: QArray,
    *,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    input_dilation: Sequence[int] | None = None,
    kernel_dilation: Sequence[int] | None = None,
    groups: int = 1,
    operands: Operands | None = None,
    precision: lax.PrecisionLike = None,
    integer: bool = False,
) -> QArray:
    """Convolves two quantized arrays and returns the sums with their scale.

    The arguments are those of :func:`quantized_conv`, which multiplies both.

    Args:
      x: as there, but no plain array.
      w: as there.
      strides: as there.
      padding: as there.
      input_dilation: as there.
      kernel_dilation: as there.
      groups: as there.
      operands: as there.
      precision: as there.
      integer: sums in int32, without a gradient, instead of float32.

    Returns:
      Sums of shape ``(batch, *spatial, out)``, scale ``(out,)``, and a bound of their magnitude.

    Raises:
      ValueError: as there.
    """
    convolution = _convolution(
        x, w, strides, padding, input_dilation, kernel_dilation, groups, operands, precision
    )
    return exact_sums(convolution, x, w, terms=math.prod(w.shape[:-1]), integer=integer)


def _convolution(
    x, w, strides, padding, input_dilation, kernel_dilation, groups, operands, precision
) -> Convolution:
    if x.ndim != w.ndim or not 3 <= x.ndim <= 5:
        raise ValueError(
            "x must have shape (batch, *spatial, in) and w (*window, in / groups, out) with the "
            f"same 1 to 3 spatial axes; got {x.shape} and {w.shape}."
        )
    if x.shape[-1] != w.shape[-2] * groups:
        raise ValueError(
            f"x has {x.shape[-1]} channels (shape {x.shape}), but w of shape {w.shape} with "
            f"groups={groups} expects {w.shape[-2] * groups}."
        )
    ones = (1,) * (x.ndim - 2)
    return Convolution(
        strides=tuple(strides),
        padding=padding if isinstance(padding, str) else tuple((lo, hi) for lo, hi in padding),
        input_dilation=tuple(input_dilation or ones),
        kernel_dilation=tuple(kernel_dilation or ones),
        groups=groups,
        operands=choose_operands(operands, x, w, terms=math.prod(w.shape[:-1])),
        precision=precision,
    )
