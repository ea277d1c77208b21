"""One way to name an array or a module: its path, joined by "/"."""

from collections.abc import Iterable
from typing import Any

import jax


def path_name(path: Iterable[Any]) -> str:
    """Names a path.

    Args:
      path: of a leaf as ``jax.tree_util`` gives it, or of a module or variable as Flax's NNX does.

    Returns:
      Its parts, joined by "/". The attribute in which an ``nnx.Variable`` keeps its array is no
      part of the name; a layer called "value" is.
    """
    parts = list(path)
    if len(parts) > 1 and getattr(parts[-1], "name", None) in ("value", "raw_value"):
        parts.pop()
    return "/".join(str(getattr(p, "key", getattr(p, "idx", getattr(p, "name", p)))) for p in parts)


def by_path(tree: Any) -> dict[str, Any]:
    """Names every leaf of a tree, for checkpoints and messages.

    Args:
      tree: any pytree, such as an ``nnx.State`` or an optimizer's state.

    Returns:
      The leaves by :func:`path_name`, in the tree's order.

    Raises:
      ValueError: if two leaves have the same name.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    named: dict[str, Any] = {}
    for path, leaf in leaves:
        name = path_name(path)
        if name in named:
            raise ValueError(f"tree must not have two leaves of the same path, got {name!r} twice.")
        named[name] = leaf
    return named
