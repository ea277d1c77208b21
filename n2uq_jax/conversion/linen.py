"""Linen models, which keep their parameters outside: quantized by rules, and calibrated."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import linen, traverse_util
from flax.core import meta, unfreeze

from n2uq_jax.conversion.calibration.batches import inputs_of, joined, naming_the_batch
from n2uq_jax.conversion.calibration.choose import choose, sample
from n2uq_jax.conversion.calibration.fit import Fit
from n2uq_jax.conversion.rules import Rule
from n2uq_jax.nn.linen import ActivationQuantizer, Conv, Dense
from n2uq_jax.paths import path_name

M = TypeVar("M", bound=linen.Module)

FORMS: dict[type[linen.Module], type[linen.Module]] = {linen.Conv: Conv, linen.Dense: Dense}
"""The quantized form of each of Flax's layers that has one."""


def quantize(module: M, rules: Iterable[Rule]) -> M:
    """Quantizes the layers that rules name, also those that a model's code has hard-coded.

    Whenever the model calls a ``nn.Conv`` or ``nn.Dense`` whose path a rule matches, the layer of
    :mod:`n2uq_jax.nn.linen` runs in its place, on the same parameters; those of the quantizer lie
    beside them in ``input_quantizer``. Every layer that a rule matches is quantized, the first and
    the last one too: a rule without bits in front leaves one float.

    Args:
      module: a Linen module with a ``__call__``; it is not modified.
      rules: the first that matches a layer's "/"-joined path in ``params`` decides. ``signed`` that
        is None means unsigned here.

    Returns:
      A module of a class derived from the model's, with the same fields. ``init`` makes the float
      network's variables, and those of the quantizers.

    Raises:
      TypeError: if ``module`` is no Linen module, or ``rules`` no rules.
      ValueError: if a rule wants another method than N2UQ; when the network is called, if a rule
        matches no layer.

    Example:
      >>> import jax
      >>> from flax import linen as nn
      >>> from n2uq_jax import Rule
      >>> from n2uq_jax.conversion.linen import quantize
      >>> model = nn.Sequential([nn.Dense(8), nn.relu, nn.Dense(2)])
      >>> quantized = quantize(model, [Rule("layers_2", w_bits=2, a_bits=4)])
      >>> variables = quantized.init(jax.random.key(0), jax.numpy.ones((1, 4)))
      >>> sorted(variables["params"]["layers_2"])
      ['bias', 'input_quantizer', 'kernel']
    """
    rules = tuple(rules)
    if not isinstance(module, linen.Module):
        raise TypeError(f"module must be a Linen module, got {type(module).__name__}.")
    if not all(isinstance(rule, Rule) for rule in rules):
        raise TypeError(f"rules must be a sequence of n2uq_jax.Rule, got {rules!r}.")
    for rule in rules:
        if rule.method != "n2uq":
            raise ValueError(f"the layers for Linen have N2UQ alone, got method={rule.method!r}.")
    kind = type(module)

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen: list[str] = []
        with linen.intercept_methods(_replace(rules, seen)):
            result = kind.__call__(self, *args, **kwargs)
        for rule in rules:
            if not any(map(rule.matches, seen)):
                known = ", ".join(dict.fromkeys(seen)) or "none"
                raise ValueError(
                    f"rules: {rule.path!r} matches no nn.Conv or nn.Dense; there are: {known}."
                )
        return result

    derived: Any = type(f"Quantized{kind.__name__}", (kind,), {"__call__": call})
    return derived(**_fields(module))


def _replace(rules: Sequence[Rule], seen: list[str]) -> Callable[..., Any]:
    """Returns the interceptor that runs quantized layers, and notes the layers that it sees."""

    def intercept(call, args, kwargs, context):
        layer = context.module
        if context.method_name != "__call__" or type(layer) not in FORMS:
            return call(*args, **kwargs)
        path = path_name(layer.path)
        seen.append(path)
        rule = next((rule for rule in rules if rule.matches(path)), None)
        if rule is None or rule.leaves_float:
            return call(*args, **kwargs)
        options = {name: value for name, value in rule.options.items() if name != "method"}
        options["signed"] = bool(rule.signed)
        quantized = FORMS[type(layer)](**_fields(layer), **options, parent=layer.scope)
        return quantized(*args, **kwargs)

    return intercept


def _fields(module: linen.Module) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(module) if field.init]
    return {name: getattr(module, name) for name in names if name not in ("parent", "name")}


def take_over(variables: Mapping[str, Any], trained: Mapping[str, Any]) -> dict[str, Any]:
    """Puts a float network's variables into those of its quantized form.

    Args:
      variables: of the quantized network, from ``init``.
      trained: of the float network; a subset of ``variables``, with the same shapes.

    Returns:
      ``variables`` with the trained values; what the float network has not, such as
      ``input_quantizer``, is as it was.

    Raises:
      ValueError: if there is nothing to take over, or the quantized network lacks a variable or
        has it in another shape.
    """
    flat, new = (
        traverse_util.flatten_dict(unfreeze(dict(tree)), sep="/") for tree in (variables, trained)
    )
    if not new:
        raise ValueError("trained has no variables: there is nothing to take over.")
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
                f"{path_name(path)} runs inside a transformation such as nn.scan, nn.remat or "
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
