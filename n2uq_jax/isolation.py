"""Values that evaluation computes once, the same for everybody who reads them.

A compiler is free to merge neighbouring float operations, and to compute a value anew in each
fusion that reads it; each time it may round differently. Training does not care. Export does: it
evaluates a network's arithmetic piece by piece and promises the same integers. So evaluation
isolates what pieces begin and end with, by XLA's optimization barriers: the sums of a product of
codes, the codes of a quantizer, and the residual sums that are read more than once. Each side of a
barrier is compiled alone, hence alike in the whole network and in the exporter.

What is an operation of this library is marked besides, so that export recognizes it in a trace.
"""

import jax
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from n2uq_jax.shapes import Array, Shaped

MARK_PREFIX = "n2uq_jax."
"""What every mark starts with."""


def tagged(result: Shaped[Array, "*shape"], operation: str) -> Shaped[Array, "*shape"]:
    """Isolates the result of an operation, and marks it.

    The mark is JAX's own ``name`` primitive, which computes nothing.

    Args:
      result: what the operation returns.
      operation: its name, followed by ``/N`` for a quantizer with ``N`` codes above the lowest.

    Returns:
      The same values.
    """
    return checkpoint_name(lax.optimization_barrier(result), MARK_PREFIX + operation)


@jax.custom_vjp
def boundary(x: Shaped[Array, "*shape"]) -> Shaped[Array, "*shape"]:
    """Isolates a value that several readers share, outside of differentiation.

    Residual sums, which feed both a quantizer and the next sum, pass this function, so that
    evaluation and export see one and the same value. Training is free to fuse.

    Args:
      x: array of any shape and dtype.

    Returns:
      The same values.
    """
    return lax.optimization_barrier(x)


def _forward(x):
    return x, None


def _backward(_, g):
    return (g,)


boundary.defvjp(_forward, _backward)
