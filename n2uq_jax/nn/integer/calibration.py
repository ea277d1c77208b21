"""Steps of grids, set from data."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from n2uq_jax.compilation import quick_jit
from n2uq_jax.nn.integer.grid import Grid
from n2uq_jax.paths import path_name


def grids(model: nnx.Module) -> dict[str, Grid]:
    """Finds every grid of a network.

    Args:
      model: any NNX module.

    Returns:
      The grids by their "/"-joined path, in the order of the module tree.
    """
    return {
        path_name(path): module
        for path, module in nnx.iter_modules(model)
        if isinstance(module, Grid)
    }


def set_grids(model: nnx.Module, batches: Iterable[Any]) -> dict[str, float]:
    r"""Sets the step of every grid from what is rounded to it.

    The network runs in float, with running statistics and without rounding to any grid. A step is

    .. math:: \delta = h \max|x| / L, \qquad h = 1 + (b - 8) / 8

    with the headroom :math:`h` between 1 and 2: a grid of 16 bits spares one of them for images
    that were not seen and for training to come, a grid of 8 bits has none to spare.

    Args:
      model: changed in place.
      batches: inputs of the network.

    Returns:
      The largest magnitude that met each grid, by the grid's path.

    Raises:
      ValueError: if there is no batch, or a value is not finite.
    """
    graphdef, state = nnx.split(model)
    observed = nnx.merge(graphdef, state, copy=True)
    observed.set_attributes(deterministic=False, raise_if_not_found=False)
    observed.set_attributes(use_running_average=True, raise_if_not_found=False)
    observed.set_attributes(observing=True, raise_if_not_found=False)
    graphdef, state = nnx.split(observed)

    @quick_jit
    def measure(state: nnx.State, x: Any) -> dict[str, jax.Array]:
        run = nnx.capture(lambda m, x: m(x), nnx.Intermediate)
        _, captured = run(nnx.merge(graphdef, state), x)
        return {
            path_name(path[:-1]): jnp.stack(values).max()
            for path, values in nnx.to_flat_state(captured)
            if path[-1] == "magnitude"
        }

    largest: dict[str, float] = {}
    for batch in batches:
        for path, value in measure(state, batch).items():
            if not jnp.isfinite(value):
                raise ValueError(f"the values on grid {path} are not finite.")
            largest[path] = max(largest.get(path, 0.0), float(value))
    if not largest:
        raise ValueError("batches must hold at least one batch, got none.")
    for path, grid in grids(model).items():
        if largest.get(path, 0.0) > 0:
            headroom = min(2.0, max(1.0, 1 + (grid.bits - 8) / 8))
            grid.step[...] = jnp.float32(headroom * largest[path] / grid.largest)
    return largest
