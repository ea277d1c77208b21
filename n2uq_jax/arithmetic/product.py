"""One differentiable product of integer codes, for convolutions and matrix products alike."""

import functools
from typing import Protocol

import jax
import jax.numpy as jnp
from jax import lax

from n2uq_jax.arithmetic.exactness import accumulator_dtype
from n2uq_jax.isolation import tagged
from n2uq_jax.quantizers.qarray import QArray, align
from n2uq_jax.shapes import Array, Float


class Bilinear(Protocol):
    """A hashable description of a bilinear operation, such as a convolution."""

    @property
    def operands(self) -> str:
        """The type the codes are multiplied in."""
        ...

    def __call__(self, x: jax.Array, w: jax.Array, accumulator: jnp.dtype | None) -> jax.Array:
        """Applies the operation, summing in ``accumulator`` (None: the operands' dtype)."""
        ...


def scaled_product(
    operation: Bilinear, x: QArray | Float[Array, "..."], w: QArray
) -> Float[Array, "*outer outputs"]:
    r"""Applies a bilinear operation to codes and scales the exact sums once.

    .. math:: y_c = \Big(\sum k_x \cdot k_w\Big) \cdot (s_x \cdot s_{w,c})

    Args:
      operation: which products are summed.
      x: codes of a float dtype, scale ``()``; or plain floats, whose scale is 1.
      w: codes of a float dtype, scale ``()`` or ``(out,)``.

    Returns:
      The result with output channels on its last axis, float32 or wider.

    Raises:
      ValueError: if a scale has another shape.
    """
    if not isinstance(x, QArray):
        x = QArray(x, jnp.ones((), w.scale.dtype))
    sums = multiply_codes(operation, x.codes, w.codes)
    scale = product_scale(x, w)
    return sums * align(scale, sums.ndim).astype(sums.dtype)


def exact_sums(operation: Bilinear, x: QArray, w: QArray, *, terms: int, integer: bool) -> QArray:
    r"""Applies a bilinear operation to codes and leaves the sums as they are.

    Args:
      operation: which products are summed.
      x: codes of a float dtype, scale ``()``.
      w: codes of a float dtype, scale ``()`` or ``(out,)``.
      terms: number of products in one sum.
      integer: return int32 sums, which have no gradient: for evaluation in integer arithmetic.

    Returns:
      A QArray with output channels last: sums in int32 or, for training, in float32 or wider; the
      scale of :func:`scaled_product`; and the largest magnitude that a sum of so many products can
      have, as ``max_code``.

    Raises:
      ValueError: if a scale has another shape.
    """
    multiply = sum_integers if integer else multiply_codes
    known = x.max_code is not None and w.max_code is not None
    largest = terms * x.max_code * w.max_code if known else None  # type: ignore[operator]
    return QArray(multiply(operation, x.codes, w.codes), product_scale(x, w), largest)


def product_scale(x: QArray, w: QArray) -> jax.Array:
    """Returns the factor of sums of products of codes, behind a barrier.

    Args:
      x: activations, scale ``()``.
      w: weights, scale ``()`` or ``(out,)``.

    Returns:
      Shape ``()`` or ``(out,)``.

    Raises:
      ValueError: if a scale has another shape.
    """
    if x.scale.ndim:
        raise ValueError(
            f"x must have one scale, of shape (), as its channels are summed; got {x.scale.shape}."
        )
    if w.scale.shape not in ((), w.shape[-1:]):
        raise ValueError(
            f"w must have a scale of shape (), or ({w.shape[-1]},) for the output channels on its "
            f"last axis; got {w.scale.shape}."
        )
    # Computed apart from its use: a compiler may otherwise reassociate the three factors.
    return lax.optimization_barrier(x.scale * w.scale)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def multiply_codes(
    operation: Bilinear, x: Float[Array, "..."], w: Float[Array, "*inner outputs"]
) -> Float[Array, "*outer outputs"]:
    """Sums products of codes exactly; gradients are those of real operands.

    Outside of differentiation the sums stand behind an optimization barrier, so that what
    follows is compiled the same way in evaluation and export.

    NaN codes make NaN sums in the float types. An integer cannot be NaN: there a NaN in ``x`` makes
    all sums of its index on the first axis NaN under differentiation, and is lost in evaluation.

    Args:
      operation: which products are summed, and in which arithmetic.
      x: codes of a float dtype.
      w: codes of a float dtype.

    Returns:
      Integers in float32, or float64 where ``x`` is float64. Sums of int32 operands that are
      beyond the integers of that type are rounded to it, once.
    """
    return tagged(_accumulate(operation, x, w), "multiply_codes")


@functools.partial(jax.jit, static_argnums=0)
def sum_integers(operation: Bilinear, x: jax.Array, w: jax.Array) -> jax.Array:
    """Sums products of codes exactly, into int32; an operation to export like the other.

    Args:
      operation: which products are summed, and in which arithmetic.
      x: codes, integers of any dtype.
      w: codes, integers of any dtype.

    Returns:
      The sums, int32.
    """
    operands = jnp.dtype(operation.operands)
    sums = operation(x.astype(operands), w.astype(operands), accumulator_dtype(operation.operands))
    return tagged(sums.astype(jnp.int32), "multiply_codes")


def _accumulate(operation, x, w):
    operands = jnp.dtype(operation.operands)
    sums = operation(x.astype(operands), w.astype(operands), accumulator_dtype(operation.operands))
    return sums.astype(jnp.promote_types(x.dtype, jnp.float32))


def _forward(operation, x, w):
    sums = _accumulate(operation, x, w)
    if jnp.issubdtype(jnp.dtype(operation.operands), jnp.integer):
        # An integer cannot be NaN, but a run that diverges must be seen while it trains.
        lead = x.shape[:1] if x.ndim > 1 else ()
        lost = jnp.isnan(x).any(tuple(range(len(lead), x.ndim)))
        sums = jnp.where(lost.reshape(*lead, *(1,) * (sums.ndim - len(lead))), jnp.nan, sums)
    return sums, (x, w)


def _backward(operation, residuals, g):
    # An integer cast has no gradient, hence this rule: the operation on real operands is linear
    # in each, so JAX's own transposes apply, in the codes' dtype whatever the forward pass used.
    x, w = residuals
    _, pull = jax.vjp(lambda x, w: operation(x, w, None), x, w.astype(x.dtype))
    dx, dw = pull(g.astype(x.dtype))
    return dx, dw.astype(w.dtype)


multiply_codes.defvjp(_forward, _backward)
