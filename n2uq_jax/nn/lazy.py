"""Parameters that a model makes only when it is first called."""

from collections.abc import Collection

from flax import nnx

from n2uq_jax.paths import path_name


def parameter_paths(model: nnx.Module) -> set[str]:
    """Returns the "/"-joined path of every parameter that a model has now."""
    state = nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))
    return {path_name(path) for path, _ in nnx.to_flat_state(state)}


def reject_new_parameters(model: nnx.Module, known: Collection[str]) -> None:
    """Raises if a call made parameters: their values would be random, and lost afterwards.

    Args:
      model: after the call.
      known: its :func:`parameter_paths` before.

    Raises:
      ValueError: if there are others now.
    """
    made = sorted(parameter_paths(model) - set(known))
    if made:
        raise ValueError(
            f"model makes parameters when it is called: {', '.join(made)}. Call it on an example "
            "first, then convert it; layers that do not exist yet cannot be seen."
        )
