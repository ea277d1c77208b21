"""Which parameters belong to a quantizer, for optimizers that treat them apart."""

from typing import Any

import jax

THRESHOLD_PARAMETERS = frozenset({"start", "intervals", "in_scale", "out_scale"})
"""The parameters of N2UQ's activation quantizer."""

ALONE = ({"clip"}, {"step"})
"""PACT's only parameter, and that of LSQ."""


def optimizer_labels(params: Any) -> Any:
    """Labels every parameter for ``optax.partition``.

    The paper trains quantizer parameters at a tenth of the learning rate of all other
    parameters. Pass the
    function itself, ``optax.partition(groups, optimizer_labels)``, which labels whatever form of
    the parameters the optimizer is given.

    Args:
      params: the parameters of an NNX or a Linen model: an ``nnx.State`` or nested dicts.

    Returns:
      The same structure with ``"quantizer"`` or ``"default"`` in place of every array. A quantizer
      is recognized by its parameters: a module that has all of start, intervals, in_scale and
      out_scale, or one that has clip or step alone.
    """
    paths = [_names(path) for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
    siblings: dict[tuple[str, ...], set[str]] = {}
    for *module, name in paths:
        siblings.setdefault(tuple(module), set()).add(name)

    def label(path, _):
        *module, name = _names(path)
        present = siblings[tuple(module)]
        thresholds = name in THRESHOLD_PARAMETERS and present >= THRESHOLD_PARAMETERS
        return "quantizer" if thresholds or present in ALONE else "default"

    return jax.tree_util.tree_map_with_path(label, params)


def _names(path: tuple[Any, ...]) -> list[str]:
    names = [
        str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key)))) for key in path
    ]
    # An nnx.State wraps each array in a Variable, whose only child is called value.
    return names[:-1] if len(names) > 1 and names[-1] in ("value", "raw_value") else names
