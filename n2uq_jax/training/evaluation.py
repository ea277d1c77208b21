"""Evaluation on every image of a data set, each exactly once."""

from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh

from n2uq_jax import data
from n2uq_jax.training import sharding
from n2uq_jax.training.step import Batch


def evaluate(
    eval_step: Callable[[Batch], dict[str, jax.Array]],
    dataset: data.Dataset,
    batch_size: int,
    mesh: Mesh,
    *,
    num_workers: int = 0,
) -> dict[str, float]:
    """Averages weighted sums over the evaluation split.

    Args:
      eval_step: gives the sums of a batch, and their ``count``.
      dataset: what to evaluate on.
      batch_size: over all processes.
      mesh: the devices.
      num_workers: decoding processes.

    Returns:
      Every sum but ``count``, divided by the number of images.
    """
    batches = data.eval_batches(
        dataset,
        batch_size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        num_workers=num_workers,
    )
    sums = []
    with data.Prefetch(batches, lambda batch: sharding.put_batch(mesh, batch)) as prefetch:
        for batch in prefetch:
            sums.append(eval_step(batch))
    totals = {name: np.sum([s[name] for s in jax.device_get(sums)], axis=0) for name in sums[0]}
    count = totals.pop("count")
    return {name: float(total / count) for name, total in totals.items()}
