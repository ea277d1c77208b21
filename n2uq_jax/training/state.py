"""What a training step reads and writes, and how a network is split for it."""

import dataclasses

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
      batch_stats: the rest of its state, such as running statistics.
      opt_state: the optimizer's state.
    """

    step: jax.Array
    params: nnx.State
    batch_stats: nnx.State
    opt_state: optax.OptState


@dataclasses.dataclass(frozen=True)
class GraphDefs:
    """The static halves of a network: its structure without arrays.

    Args:
      train: graph definition with batch statistics.
      eval: graph definition with running statistics.
    """

    train: nnx.GraphDef
    eval: nnx.GraphDef


def split_model(model: nnx.Module) -> tuple[GraphDefs, nnx.State, nnx.State]:
    """Splits a network into its static halves, its parameters and the rest of its state.

    Args:
      model: any NNX module; left in evaluation mode.

    Returns:
      The graph definitions, the parameters, and everything else.
    """
    model.train()
    train = nnx.graphdef(model)
    model.eval()
    params, batch_stats = nnx.state(model, nnx.Param, ...)
    return GraphDefs(train, nnx.graphdef(model)), params, batch_stats


def create_state(
    params: nnx.State, batch_stats: nnx.State, optimizer: optax.GradientTransformation
) -> TrainState:
    """Returns the state before the first step.

    Args:
      params: from :func:`split_model`.
      batch_stats: from :func:`split_model`.
      optimizer: made for these parameters.

    Returns:
      The state, with copies of the arrays: a step may donate them.
    """
    params, batch_stats = jax.tree.map(jnp.copy, (params, batch_stats))
    return TrainState(jnp.zeros((), jnp.int32), params, batch_stats, optimizer.init(params))


def forward(
    graphdef: nnx.GraphDef, params: nnx.State, batch_stats: nnx.State, images: jax.Array
) -> tuple[jax.Array, nnx.State]:
    """Runs a network as a pure function.

    Args:
      graphdef: the half of :class:`GraphDefs` for training or evaluation.
      params: its parameters.
      batch_stats: the rest of its state.
      images: normalized images, NHWC.

    Returns:
      The logits, and the rest of the state after the call.
    """
    model = nnx.merge(graphdef, params, batch_stats, copy=True)
    logits = model(images)
    return logits, nnx.state(model, nnx.Not(nnx.Param))


def forward_in_groups(
    graphdef: nnx.GraphDef,
    params: nnx.State,
    batch_stats: nnx.State,
    images: jax.Array,
    groups: int,
) -> tuple[jax.Array, nnx.State]:
    """Runs a network on equal parts of a batch, each with batch statistics of its own.

    Args:
      graphdef: as for :func:`forward`.
      params: its parameters.
      batch_stats: the rest of its state.
      images: normalized images, NHWC; the groups are contiguous.
      groups: number of parts.

    Returns:
      The logits, and the rest of the state, floats averaged over the parts.
    """
    parts = images.reshape(groups, -1, *images.shape[1:])
    logits, batch_stats = jax.vmap(forward, (None, None, None, 0))(
        graphdef, params, batch_stats, parts
    )

    def merge(value):
        return value.mean(0) if jnp.issubdtype(value.dtype, jnp.floating) else value[0]

    return logits.reshape(-1, *logits.shape[2:]), jax.tree.map(merge, batch_stats)
