"""The function that an exported program must equal: float32 evaluation of the trained network."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from n2uq_jax.nn.lazy import parameter_paths, reject_new_parameters

Parameters = dict[str, Any]
"""Arrays by the "/"-joined path of the parameter."""

Function = Callable[..., jax.Array]
"""``function(parameters, images)`` returns the logits."""

Model = nnx.Module | tuple[Function, Any]
"""An NNX module, or a function of (parameters, images) with its parameters."""


def evaluation_function(model: Model) -> tuple[Function, Parameters]:
    """Splits a model into a pure evaluation function and its parameters, both in float32.

    Args:
      model: an NNX module, which stays as it is; or a pair ``(function, parameters)`` for any JAX
        model, such as ``(lambda p, x: module.apply(p, x, train=False), variables)`` in Linen.
        A module is switched to evaluation and its layers compute in float32, whatever they
        trained in; a function is taken as it is.

    Returns:
      The function, and its first argument as a flat dict. Parameters of other float dtypes are
      converted to float32.

    Raises:
      TypeError: if ``model`` is neither.
    """
    if isinstance(model, nnx.Module):
        return _from_module(model)
    if isinstance(model, tuple) and len(model) == 2 and callable(model[0]):
        return _from_function(*model)
    raise TypeError(
        f"model must be an nnx.Module or a pair (function, parameters), got {type(model).__name__}."
    )


def _from_module(module):
    graphdef, state = nnx.split(module)
    parameters, rebuild = _flatten(state)
    known = parameter_paths(module)

    def evaluate(parameters: Mapping[str, Any], *inputs: jax.Array) -> jax.Array:
        copy = nnx.merge(graphdef, rebuild(parameters))
        copy.eval()
        for _, layer in nnx.iter_modules(copy):
            dtype = getattr(layer, "dtype", None)
            if dtype is not None and jnp.issubdtype(dtype, jnp.floating):
                setattr(layer, "dtype", jnp.float32)  # noqa: B010
        logits = copy(*inputs)
        reject_new_parameters(copy, known)
        return logits

    return evaluate, parameters


def _from_function(function, tree):
    parameters, rebuild = _flatten(tree)

    def evaluate(parameters: Mapping[str, Any], *inputs: jax.Array) -> jax.Array:
        return function(rebuild(parameters), *inputs)

    return evaluate, parameters


def _flatten(tree: Any) -> tuple[Parameters, Callable[[Mapping[str, Any]], Any]]:
    paths, structure = jax.tree_util.tree_flatten_with_path(tree)
    names = [_name(path) for path, _ in paths]
    leaves = [_to_float32(leaf) for _, leaf in paths]

    def rebuild(parameters):
        return jax.tree.unflatten(structure, [parameters[name] for name in names])

    return dict(zip(names, leaves, strict=True)), rebuild


def _name(path) -> str:
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    return name.removesuffix("/value")  # NNX variables hold their array in an attribute


def _to_float32(leaf: Any) -> Any:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        is_float = jnp.issubdtype(leaf.dtype, jnp.floating)
        return jax.ShapeDtypeStruct(leaf.shape, jnp.float32 if is_float else leaf.dtype)
    leaf = jnp.asarray(leaf)
    return leaf.astype(jnp.float32) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
