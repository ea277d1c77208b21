"""Walks over the modules of an NNX model, shared ones included."""

import functools
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from flax import nnx

from n2uq_jax.paths import path_name


def modules(model: nnx.Module) -> dict[str, nnx.Module]:
    """Returns every module by its "/"-joined path, a shared one under each of its paths.

    Args:
      model: any NNX module.

    Returns:
      In the order in which the model's constructors assign them; the model itself is ``""``.
    """
    return dict(_walk(model, (), ()))


def replace_modules(node: Any, replacements: Mapping[int, nnx.Module]) -> Any:
    """Replaces modules wherever they stand, in place.

    Args:
      node: an NNX module.
      replacements: new modules by the ``id`` of those they replace.

    Returns:
      The node, or what replaces it.
    """
    return _replace(node, replacements, set())


def _walk(node: Any, path: tuple[str, ...], above: tuple[int, ...]) -> Iterator[tuple[str, Any]]:
    if id(node) in above:
        return  # a module that refers to one it is part of
    if isinstance(node, nnx.Module):
        yield path_name(path), node
    for name, child in _children(node):
        yield from _walk(child, (*path, name), (*above, id(node)))


def _replace(node: Any, replacements: Mapping[int, nnx.Module], seen: set[int]) -> Any:
    if id(node) in replacements:
        return replacements[id(node)]
    if id(node) in seen:
        return node
    seen.add(id(node))
    changed = {}
    for name, child in _children(node):
        new = _replace(child, replacements, seen)
        if new is not child:
            changed[name] = new
    if isinstance(node, tuple):
        items = [changed.get(str(i), item) for i, item in enumerate(node)]
        if not changed:
            return node
        return type(node)(*items) if hasattr(node, "_fields") else tuple(items)
    for name, new in changed.items():
        if isinstance(node, nnx.Pytree):
            setattr(node, name, nnx.data(new))
        else:
            node[int(name) if isinstance(node, list) else name] = new
    return node


def _children(node: Any) -> list[tuple[str, Any]]:
    if isinstance(node, nnx.Pytree):
        # nnx.clone and a step under nnx.jit leave attributes in alphabetical order.
        order = _names_in_constructors(type(node))
        items = [(k, v) for k, v in vars(node).items() if not k.startswith("_pytree__")]
        items.sort(key=lambda item: order.get(item[0], len(order)))
    elif isinstance(node, tuple | list):
        items = [(str(i), v) for i, v in enumerate(node)]
    elif isinstance(node, dict):
        items = [(k, v) for k, v in node.items() if isinstance(k, str)]
    else:
        return []
    return [(k, v) for k, v in items if isinstance(v, nnx.Pytree | tuple | list | dict)]


@functools.cache
def _names_in_constructors(kind: type) -> dict[str, int]:
    """Numbers the names that the constructors of a class mention, by their first mention."""
    constructors = [vars(c).get("__init__") for c in reversed(kind.__mro__)]
    codes = [c.__code__ for c in constructors if inspect.isfunction(c)]
    names = dict.fromkeys(name for code in codes for name in code.co_names)
    return {name: i for i, name in enumerate(names)}
