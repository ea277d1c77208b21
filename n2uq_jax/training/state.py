"""What a training step reads and writes, and how a network is taken apart for it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything that changes from step to step.

    Args:
      step: number of steps done, int32, shape ``()``.
      params: the network's parameters.
      others: the rest of its state, such as running statistics.
      opt_state: the optimizer's state.
    """

    step: jax.Array
    params: nnx.State
    others: nnx.State
    opt_state: optax.OptState


@dataclasses.dataclass(frozen=True)
class Network:
    """A network's static halves, for training and for evaluation.

    Args:
      train: graph definition with batch statistics.
      eval: graph definition with running statistics.
    """

    train: nnx.GraphDef
    eval: nnx.GraphDef


def take_apart(model: nnx.Module) -> tuple[Network, nnx.State, nnx.State]:
    """Splits a network into its static halves, its parameters and the rest of its state.

    Args:
      model: any NNX module; left in evaluation mode.

    Returns:
      The graph definitions, the parameters, and everything else.
    """
    model.train()
    train = nnx.graphdef(model)
    model.eval()
    params, others = nnx.state(model, nnx.Param, ...)
    return Network(train, nnx.graphdef(model)), params, others


def create_state(
    params: nnx.State, others: nnx.State, optimizer: optax.GradientTransformation
) -> TrainState:
    """Returns the state before the first step.

    Args:
      params: from :func:`take_apart`.
      others: from :func:`take_apart`.
      optimizer: made for these parameters.

    Returns:
      The state, with copies of the arrays: a step may donate them.
    """
    params, others = jax.tree.map(jnp.copy, (params, others))
    return TrainState(jnp.zeros((), jnp.int32), params, others, optimizer.init(params))


def forward(
    graphdef: nnx.GraphDef, params: nnx.State, others: nnx.State, images: jax.Array
) -> tuple[jax.Array, nnx.State]:
    """Runs a network as a pure function.

    Args:
      graphdef: the half of :class:`Network` for training or evaluation.
      params: its parameters.
      others: the rest of its state.
      images: normalized images, NHWC.

    Returns:
      The logits, and the rest of the state after the call.
    """
    model = nnx.merge(graphdef, params, others, copy=True)
    logits = model(images)
    return logits, nnx.state(model, nnx.Not(nnx.Param))


def forward_in_groups(
    graphdef: nnx.GraphDef, params: nnx.State, others: nnx.State, images: jax.Array, groups: int
) -> tuple[jax.Array, nnx.State]:
    """Runs a network on equal parts of a batch, each with batch statistics of its own.

    Args:
      graphdef: as for :func:`forward`.
      params: its parameters.
      others: the rest of its state.
      images: normalized images, NHWC; the groups are contiguous.
      groups: number of parts.

    Returns:
      The logits, and the rest of the state, floats averaged over the parts.
    """
    parts = images.reshape(groups, -1, *images.shape[1:])
    logits, others = jax.vmap(forward, (None, None, None, 0))(graphdef, params, others, parts)

    def merge(value):
        return value.mean(0) if jnp.issubdtype(value.dtype, jnp.floating) else value[0]

    return logits.reshape(-1, *logits.shape[2:]), jax.tree.map(merge, others)


def flatten(tree: Any) -> dict[str, Any]:
    """Names every leaf of a state by its "/"-joined path, for checkpoints and messages."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    named = {path_name(path): leaf for path, leaf in leaves}
    if len(named) != len(leaves):
        raise ValueError("tree must not have two leaves of the same path.")
    return named


def path_name(path: tuple[Any, ...]) -> str:
    """Returns the "/"-joined name of a path as ``jax.tree_util`` gives it."""
    keys = [getattr(k, "key", getattr(k, "idx", getattr(k, "name", k))) for k in path]
    return "/".join(str(k) for k in keys if k not in ("value", "raw_value"))
