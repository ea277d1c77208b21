"""Running statistics of BatchNorm, measured anew."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from n2uq_jax.conversion.calibration.batches import inputs_of
from n2uq_jax.nn.lazy import parameter_paths, reject_new_parameters
from n2uq_jax.paths import path_name

Forward = Callable[[Any, jax.Array], Any]
"""How a model is run on a batch: ``forward(model, x)``."""


def call_model(model: Any, x: jax.Array) -> Any:
    """Calls the model, as ``forward`` does by default."""
    return model(x)


def reestimate_batch_norm(
    model: nnx.Module, batches: Iterable[Any], *, forward: Forward = call_model
) -> None:
    r"""Replaces BatchNorm's running statistics by averages over batches, in place.

    Quantization shifts what enters each BatchNorm; the statistics of the float network no longer
    fit. With batches of :math:`n_b` examples and batch statistics :math:`\mu_b, v_b`,

    .. math:: \mu = \sum_b \frac{n_b}{n} \mu_b, \qquad v = \sum_b \frac{n_b}{n} v_b

    so each batch should be large enough for its statistics to be typical. Parameters, quantizers
    and random streams stay as they are; dropout is off.

    Args:
      model: an NNX module.
      batches: arrays, or tuples whose first entry is one.
      forward: how to run the model, if not as ``model(x)``; a model that takes a flag wants
        ``lambda model, x: model(x, train=True)``. It is compiled.

    Raises:
      TypeError: if a batch is no array.
      ValueError: if the model has no BatchNorm, there are no batches, a BatchNorm did not
        normalize by the batch's statistics, or the model makes parameters when it is called.
        Nothing is changed then.

    Reference:
      Izmailov et al., "Averaging Weights Leads to Wider Optima", UAI 2018, Section 3.2.
    """
    norms = _batch_norms(model)
    if not norms:
        raise ValueError("model has no nnx.BatchNorm: there are no running statistics.")
    view = nnx.view(model, use_running_average=False, deterministic=True, raise_if_not_found=False)
    graph, state = nnx.split(nnx.clone(view))
    parameters = parameter_paths(model)

    @jax.jit
    def statistics(state: nnx.State, x: jax.Array) -> dict[str, tuple[jax.Array, jax.Array]]:
        copy = nnx.merge(graph, state)
        for norm in _batch_norms(copy).values():
            norm.momentum = 0.0  # nothing is kept of the old statistics
            norm.var[...] = jnp.full_like(norm.var[...], -1)  # no variance is negative
        forward(copy, x)
        reject_new_parameters(copy, parameters)
        return {
            path: (len(x) * norm.mean[...], len(x) * norm.var[...])
            for path, norm in _batch_norms(copy).items()
        }

    total, examples = None, 0
    for x in inputs_of(batches):
        weighted = statistics(state, x)
        total = weighted if total is None else jax.tree.map(jnp.add, total, weighted)
        examples += len(x)
    assert total is not None
    unused = [path for path, (_, var) in total.items() if bool((var < 0).any())]
    if unused:
        raise ValueError(
            "these did not normalize by the batch's statistics, so there are none to average: "
            f"{', '.join(unused)}; pass forward to run the model in training mode."
        )
    for path, norm in norms.items():
        mean, var = total[path]
        norm.mean[...] = (mean / examples).astype(norm.mean[...].dtype)
        norm.var[...] = (var / examples).astype(norm.var[...].dtype)


def _batch_norms(model: nnx.Module) -> dict[str, nnx.BatchNorm]:
    return {
        path_name(path): module
        for path, module in nnx.iter_modules(model)
        if isinstance(module, nnx.BatchNorm)
    }
