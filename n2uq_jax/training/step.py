"""The jitted functions of training: one step, and one batch of evaluation."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from ml_collections import ConfigDict

from n2uq_jax.data import Dataset, normalize
from n2uq_jax.training.losses import classification_loss
from n2uq_jax.training.state import GraphDefs, TrainState, forward, forward_in_groups
from n2uq_jax.workdir.accuracy import classification_sums, in_top_k

Batch = dict[str, jax.Array]


class Pixels(NamedTuple):
    """How images become the network's input.

    Args:
      mean: per channel, of pixels divided by 255.
      std: per channel.
      dtype: of the network's input; uint8 for an integer-only network, which takes pixels as
        they are.
    """

    mean: Sequence[float]
    std: Sequence[float]
    dtype: Any

    def __call__(self, images: jax.Array) -> jax.Array:
        """Normalizes uint8 images on the device."""
        if jnp.dtype(self.dtype) == jnp.uint8:
            return images
        return normalize(images, self.mean, self.std, self.dtype)


def pixels_of(model: nnx.Module, dataset: Dataset, dtype: Any) -> Pixels:
    """Returns how images become the input of a network.

    Args:
      model: the network.
      dataset: with the mean and deviation of its pixels.
      dtype: of the input of a network that is not integer-only.
    """
    integer = getattr(model, "image_dtype", None) == jnp.uint8
    return Pixels(dataset.mean, dataset.std, jnp.uint8 if integer else dtype)


def make_train_step(
    graphdefs: GraphDefs,
    optimizer: optax.GradientTransformation,
    stage: ConfigDict,
    pixels: Pixels,
    *,
    teacher: nnx.GraphDef | None = None,
    teacher_pixels: Pixels | None = None,
    accumulate: int = 1,
    batch_norm_groups: int = 1,
    state_sharding: Any = None,
) -> Callable[[TrainState, Batch, Any], tuple[TrainState, dict[str, jax.Array]]]:
    """Returns the jitted training step.

    Args:
      graphdefs: the student's static halves.
      optimizer: the transformation of gradients.
      stage: with ``label_weight``, ``label_smoothing`` and ``temperature``.
      pixels: normalization.
      teacher: static half of the network whose softmax is the target; None for labels.
      teacher_pixels: normalization for the teacher; None for ``pixels``.
      accumulate: number of microbatches whose gradients are averaged into one update.
      batch_norm_groups: parts of a microbatch with batch statistics of their own.
      state_sharding: shardings of the new state.

    Returns:
      A function of the state (which it consumes), a batch with ``image`` (uint8) and ``label``,
      and the teacher's arrays (None without one); it returns the new state and scalars: ``loss``,
      ``top1``, ``top5`` of the batch and ``grad_norm``.
    """

    def loss_function(params, batch_stats, batch, teacher_state):
        images = pixels(batch["image"])
        if batch_norm_groups > 1:
            logits, batch_stats = forward_in_groups(
                graphdefs.train, params, batch_stats, images, batch_norm_groups
            )
        else:
            logits, batch_stats = forward(graphdefs.train, params, batch_stats, images)
        teacher_logits = None
        if teacher is not None:
            teacher_images = (teacher_pixels or pixels)(batch["image"])
            teacher_logits = nnx.merge(teacher, teacher_state)(teacher_images)
        loss = classification_loss(
            logits,
            batch["label"],
            teacher_logits,
            label_weight=stage.label_weight,
            label_smoothing=stage.label_smoothing,
            temperature=stage.temperature,
        )
        metrics = {
            "loss": loss,
            "top1": in_top_k(logits, batch["label"], 1).astype(jnp.float32).mean(),
            "top5": in_top_k(logits, batch["label"], 5).astype(jnp.float32).mean(),
        }
        return loss, (batch_stats, metrics)

    gradient = jax.grad(loss_function, has_aux=True)

    def accumulated(params, batch_stats, batch, teacher_state):
        # Microbatch i holds every accumulate-th example, so that each device keeps its own.
        parts = jax.tree.map(
            lambda v: v.reshape(-1, accumulate, *v.shape[1:]).swapaxes(0, 1), batch
        )

        def add(carry, part):
            batch_stats, total = carry
            grads, (batch_stats, metrics) = gradient(params, batch_stats, part, teacher_state)
            return (batch_stats, jax.tree.map(jnp.add, total, grads)), metrics

        zeros = jax.tree.map(jnp.zeros_like, params)
        (batch_stats, total), metrics = jax.lax.scan(add, (batch_stats, zeros), parts)
        grads = jax.tree.map(lambda g: g / accumulate, total)
        return grads, (batch_stats, jax.tree.map(lambda m: m.mean(0), metrics))

    def train_step(state: TrainState, batch: Batch, teacher_state: Any):
        compute = gradient if accumulate == 1 else accumulated
        batch = {name: batch[name] for name in ("image", "label")}
        grads, (batch_stats, metrics) = compute(
            state.params, state.batch_stats, batch, teacher_state
        )
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics["grad_norm"] = optax.tree.norm(grads)
        return TrainState(state.step + 1, params, batch_stats, opt_state), metrics

    return jax.jit(train_step, donate_argnums=0, out_shardings=(state_sharding, None))


def on_leaves(
    train_step: Callable[[TrainState, Batch, Any], tuple[TrainState, dict[str, jax.Array]]],
    state: TrainState,
    state_sharding: Any = None,
) -> Callable[[list[jax.Array], Batch, Any], tuple[list[jax.Array], dict[str, jax.Array]]]:
    """Turns a training step into a function of the arrays in a state.

    At each call JAX takes a state apart and puts a new one together. With its hundreds of
    ``nnx.Variable`` objects that costs Python milliseconds, which arrays in a list do not.

    Args:
      train_step: of :func:`make_train_step`.
      state: of which the structure counts.
      state_sharding: shardings of the new state.

    Returns:
      The jitted step, with ``jax.tree.leaves(state)`` in the place of states.
    """
    structure = jax.tree.structure(state)

    def step(leaves: list[jax.Array], batch: Batch, teacher_state: Any):
        new, metrics = train_step(jax.tree.unflatten(structure, leaves), batch, teacher_state)
        return jax.tree.leaves(new), metrics

    shardings = None if state_sharding is None else jax.tree.leaves(state_sharding)
    return jax.jit(step, donate_argnums=0, out_shardings=(shardings, None))


def make_eval_step(
    graphdefs: GraphDefs, pixels: Pixels
) -> Callable[[nnx.State, nnx.State, Batch], dict[str, jax.Array]]:
    """Returns the jitted evaluation of one batch.

    Args:
      graphdefs: the static halves.
      pixels: normalization.

    Returns:
      A function of parameters, batch statistics and a batch with ``image``, ``label`` and
      ``weight`` (0 for padding); it returns
      :func:`~n2uq_jax.workdir.accuracy.classification_sums`.
    """

    @jax.jit
    def eval_step(params, batch_stats, batch):
        logits, _ = forward(graphdefs.eval, params, batch_stats, pixels(batch["image"]))
        return classification_sums(logits, batch["label"], batch["weight"])

    return eval_step
