"""What enters each activation quantizer of a network."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from n2uq_jax.nn.activation import ActivationQuantizer
from n2uq_jax.paths import path_name


def quantizers(model: nnx.Module) -> dict[str, ActivationQuantizer]:
    """Finds every activation quantizer of a network.

    Args:
      model: any NNX module.

    Returns:
      The quantizers by their "/"-joined path, in the order of the module tree.
    """
    return {
        path_name(path): module
        for path, module in nnx.iter_modules(model)
        if isinstance(module, ActivationQuantizer)
    }


def quantizer_inputs(
    model: nnx.Module, x: Any, forward: Callable[..., Any] | None = None
) -> dict[str, tuple[jax.Array, ...]]:
    """Runs a network and returns the input of each activation quantizer.

    Can be traced by ``jax.jit`` where the model's arrays are arguments.

    Args:
      model: an NNX module; call ``model.eval()`` first to observe evaluation.
      x: the network's input.
      forward: how to run it, ``forward(model, x)``; None for ``model(x)``.

    Returns:
      For each path of :func:`quantizers` that was run, one array a call, in order.
    """
    run = nnx.capture(forward or (lambda model, x: model(x)), nnx.Intermediate)
    _, captured = run(model, x)
    return {
        path_name(path[:-1]): value
        for path, value in nnx.to_flat_state(captured)
        if path[-1] == "inputs"
    }
