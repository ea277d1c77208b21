"""The mark by which export recognises this library's operations in a trace."""

import jax
from jax import lax
from jax.ad_checkpoint import checkpoint_name

PREFIX = "n2uq_jax."
"""What every mark starts with."""


def tagged(result: jax.Array, operation: str) -> jax.Array:
    """Isolates the result of an operation in evaluation, and marks it.

    The barrier keeps a compiler from merging the arithmetic in front of it with that behind it, so
    each side rounds the same way wherever it is compiled. The mark is JAX's own ``name``
    primitive, which computes nothing.

    Args:
      result: what the operation returns.
      operation: its name, followed by ``/N`` for a quantizer of ``N`` levels above zero.

    Returns:
      The same values.
    """
    return checkpoint_name(lax.optimization_barrier(result), PREFIX + operation)
