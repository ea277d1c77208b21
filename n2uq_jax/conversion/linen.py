"""Calibration of Linen models, which keep their parameters outside."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen, traverse_util
from flax.core import meta, unfreeze

from n2uq_jax.conversion.calibration.batches import inputs_of, joined, naming_the_batch
from n2uq_jax.conversion.calibration.choose import choose, sample
from n2uq_jax.conversion.calibration.fit import Fit
from n2uq_jax.nn.linen import ActivationQuantizer


def take_over(variables: Mapping[str, Any], trained: Mapping[str, Any]) -> dict[str, Any]:
    """Puts a float network's variables into those of its quantized form.

    Args:
      variables: of the quantized network, from ``init``.
      trained: of the float network; a subset of ``variables``, with the same shapes.

    Returns:
      ``variables`` with the trained values; what the float network has not, such as
      ``input_quantizer``, is as it was.

    Raises:
      ValueError: if the quantized network lacks a variable, or has it in another shape.
    """
    flat, new = (
        traverse_util.flatten_dict(unfreeze(dict(tree)), sep="/") for tree in (variables, trained)
    )
    for name, value in new.items():
        if name not in flat:
            raise ValueError(f"trained has {name}, which the quantized network has not.")
        if jnp.shape(meta.unbox(value)) != jnp.shape(meta.unbox(flat[name])):
            raise ValueError(
                f"trained has {name} of shape {jnp.shape(meta.unbox(value))}, but the quantized "
                f"network {jnp.shape(meta.unbox(flat[name]))}."
            )
    return traverse_util.unflatten_dict({**flat, **new}, sep="/")


def calibrate(
    module: linen.Module,
    variables: Mapping[str, Any],
    batches: Iterable[Any],
    *,
    batch_norm: bool = True,
    **arguments: Any,
) -> dict[str, Any]:
    """Sets thresholds, scales and running statistics from data; see :func:`n2uq_jax.calibrate`.

    The network is run once, in evaluation mode, on all batches together. Each quantizer is fitted
    when its input arrives, and each BatchNorm gets the statistics of its input.

    Args:
      module: a Linen module with layers of :mod:`n2uq_jax.nn.linen` in it.
      variables: its variables; they are not modified.
      batches: arrays, or tuples whose first entry is one.
      batch_norm: replace BatchNorm's running statistics too.
      **arguments: what ``module.apply`` takes besides the batch, such as ``train=False``.

    Returns:
      New variables.

    Raises:
      TypeError: if a batch is no array.
      ValueError: if no quantizer was run, the data are not finite, or a quantizer runs inside a
        transformation such as ``nn.scan``.
    """
    fits: dict[tuple[str, ...], Fit] = {}
    samples: dict[tuple[str, ...], jax.Array] = {}
    normalized = batch_norm and "batch_stats" in variables

    def intercept(call, args, kwargs, context):
        if context.method_name != "__call__":
            return call(*args, **kwargs)
        if isinstance(context.module, linen.BatchNorm) and batch_norm:
            _renew_statistics(context.module, args[0])
        if not isinstance(context.module, ActivationQuantizer):
            return call(*args, **kwargs)
        quantizer, (x, layer), path = context.module, (*args, None)[:2], context.module.path
        if isinstance(x, jax.core.Tracer):
            raise ValueError(
                f"{'/'.join(path)} runs inside a transformation such as nn.scan, nn.remat or "
                "jax.jit, where its input is not known: calibrate the model without it, built with "
                "the same names of parameters."
            )
        earlier = [samples[path]] if path in samples else []
        samples[path] = jnp.concatenate([*earlier, sample(x)])
        _, fits[path] = choose(
            samples[path], quantizer.bits, (quantizer.signed,), layer, x, normalized=normalized
        )
        return fits[path](x, signed=quantizer.signed)

    x = joined(list(inputs_of(batches)))
    with linen.intercept_methods(intercept), naming_the_batch(x):
        _, updates = module.apply(variables, x, **arguments, mutable=["batch_stats"])
    if not fits:
        raise ValueError("no ActivationQuantizer of n2uq_jax.nn.linen was run.")
    result = unfreeze(dict(variables)) | (unfreeze(dict(updates)) if batch_norm else {})
    flat = traverse_util.flatten_dict(result)
    for path, fit in fits.items():
        for name, value in fit._asdict().items():
            old = flat["params", *path, name]
            flat["params", *path, name] = meta.replace_boxed(old, _shaped(value, meta.unbox(old)))
    return traverse_util.unflatten_dict(flat)


def _renew_statistics(norm: linen.BatchNorm, x: jax.Array) -> None:
    """Overwrites running statistics by those of ``x``; the layer reads them next."""
    features = {axis % x.ndim for axis in jax.tree.leaves(norm.axis)}
    axes = tuple(axis for axis in range(x.ndim) if axis not in features)
    values = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    norm.put_variable("batch_stats", "mean", values.mean(axes))
    norm.put_variable("batch_stats", "var", values.var(axes))


def _shaped(value: jax.Array, parameter: jax.Array) -> jax.Array:
    """Gives a fitted value the shape of a parameter; thresholds per channel start out equal."""
    if value.ndim < parameter.ndim:
        value = value[..., None]
    return jnp.broadcast_to(value, parameter.shape).astype(parameter.dtype)
