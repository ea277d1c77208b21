"""How good a classifier is: top-k accuracy and loss, the same for a network and an artifact."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from n2uq_jax.shapes import Array, Float, Shaped


def in_top_k(
    logits: Float[Array, "batch classes"], labels: Shaped[Array, " batch"], k: int
) -> Shaped[Array, " batch"]:
    """Says for each example whether its label is among the ``k`` largest logits.

    Among equal logits the class of the smaller number comes first, as in ``argmax``: a label is in
    the top ``k`` if fewer than ``k`` classes have a larger logit, or an equal one and a smaller
    number.

    Args:
      logits: shape ``(batch, classes)``.
      labels: integers, shape ``(batch,)``.
      k: 1 for top-1, 5 for top-5.

    Returns:
      Bool, shape ``(batch,)``; False for an example with a NaN among its logits, which have no
      order.
    """
    own = jnp.take_along_axis(logits, labels[:, None], axis=-1)
    smaller_number = jnp.arange(logits.shape[-1])[None] < labels[:, None]
    before = (logits > own) | ((logits == own) & smaller_number)
    return (before.sum(-1) < k) & ~jnp.isnan(logits).any(-1)


def ranked(logits: np.ndarray, k: int) -> np.ndarray:
    """Returns the ``k`` classes that :func:`in_top_k` counts, the best first.

    Args:
      logits: shape ``(..., classes)``.
      k: how many.

    Returns:
      Class numbers, shape ``(..., min(k, classes))``; NaN comes last.
    """
    return np.argsort(-np.asarray(logits), axis=-1, kind="stable")[..., :k]


@functools.partial(jax.jit, inline=True)
def classification_sums(
    logits: Float[Array, "batch classes"],
    labels: Shaped[Array, " batch"],
    weight: Float[Array, " batch"],
) -> dict[str, Float[Array, ""]]:
    """Sums loss and hits over a batch.

    Args:
      logits: shape ``(batch, classes)``; computed in float32 at least.
      labels: integers, shape ``(batch,)``.
      weight: shape ``(batch,)``: 1 for an image and 0 for what fills up a batch.

    Returns:
      ``loss`` (cross-entropy), ``top1``, ``top5`` and ``count``, each of shape ``()``.
    """
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return {
        "loss": jnp.where(weight > 0, losses * weight, 0).sum(),
        "top1": (in_top_k(logits, labels, 1) * weight).sum(),
        "top5": (in_top_k(logits, labels, 5) * weight).sum(),
        "count": weight.sum(),
    }


def evaluate(
    sums: Callable[[Any], Mapping[str, jax.Array]], batches: Iterable[Any]
) -> dict[str, float]:
    """Averages over batches.

    Args:
      sums: gives :func:`classification_sums` of a batch.
      batches: of one pass over the evaluation images.

    Returns:
      ``loss``, ``top1`` and ``top5`` of an image, and the number of ``images``.
    """
    found = [sums(batch) for batch in batches]  # on the device: nothing waits for a batch
    totals = {name: np.sum([s[name] for s in jax.device_get(found)], axis=0) for name in found[0]}
    count = int(totals.pop("count"))
    # Hits are whole numbers: what is equal shows the same to the last digit.
    hits = {name: int(totals[name]) / count for name in ("top1", "top5")}
    return {"loss": float(totals["loss"] / count), **hits, "images": count}
