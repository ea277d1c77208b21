"""State that one network hands to another."""

import jax
import jax.numpy as jnp
from flax import nnx

from n2uq_jax.paths import by_path


def copy_shared_state(source: nnx.Module, target: nnx.Module) -> None:
    """Copies what two networks have in common: everything that the source has.

    Args:
      source: such as a trained float twin.
      target: such as the quantized network, which has quantizers besides; or the integer-only one,
        which has grids besides. Changed in place.

    Raises:
      ValueError: if the source has state that the target has not, in name or in shape.
    """
    check_shared_state(source, target)
    state = nnx.state(target)
    mine, theirs = by_path(state), by_path(nnx.state(source))
    leaves = [jnp.asarray(theirs.get(name, value), value.dtype) for name, value in mine.items()]
    nnx.update(target, jax.tree.unflatten(jax.tree.structure(state), leaves))


def check_shared_state(source: nnx.Module, target: nnx.Module) -> None:
    """Raises unless a network has a place for everything that another has.

    Args:
      source: as in :func:`copy_shared_state`; either may be an abstract one of ``nnx.eval_shape``.
      target: stays as it is.

    Raises:
      ValueError: if the source has state that the target has not, in name or in shape.
    """
    mine, theirs = by_path(nnx.state(target)), by_path(nnx.state(source))
    unknown = [
        f"{name} {value.shape}"
        for name, value in theirs.items()
        if name not in mine or mine[name].shape != value.shape
    ]
    if unknown:
        raise ValueError(f"init has state that the network has not: {', '.join(unknown)}.")
