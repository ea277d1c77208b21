"""The Grain pipeline: one endless order of training examples, and one finite order of evaluation.

Every position of the endless order 0, 1, 2, … is an epoch (position // length) and a place in that
epoch's shuffle. Global batch k holds positions k·B to (k+1)·B − 1; process p of P takes the p-th
contiguous P-th of it. An example's augmentation is drawn from (seed, epoch, record index) alone. So
a step number says everything about where the pipeline stands, for any number of processes and
workers.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from typing import Any

from n2uq_jax.data.dataset import Dataset
from n2uq_jax.data.examples import EvalExample, TrainExample, collate
from n2uq_jax.data.iterator import BatchIterator
from n2uq_jax.data.order import EndlessOrder


def steps_per_epoch(dataset: Dataset, batch_size: int) -> int:
    """Whole batches in one pass over the training split, at least one.

    Args:
      dataset: from `load`.
      batch_size: over all processes.

    Returns:
      max(1, N // batch_size). The pipeline drops nothing; an epoch's remainder opens the batch
      that the next epoch completes.
    """
    _local_batch_size(batch_size, 0, 1, 0)
    return max(1, len(dataset.train) // batch_size)


def train_batches(
    dataset: Dataset,
    batch_size: int,
    *,
    seed: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    num_workers: int = 0,
    start_step: int = 0,
    max_bad_records: int = 100,
    copy: bool = True,
) -> BatchIterator:
    """Endless training batches: shuffled anew each epoch, augmented, resumable at any step.

    A corrupt record is replaced by the next readable one, in the order of the source.

    Args:
      dataset: from `load`.
      batch_size: over all processes; a multiple of `process_count`.
      seed: of the order and of the augmentation, 0 to 2**32 − 1.
      process_index: which part of each global batch to yield.
      process_count: number of such parts.
      num_workers: worker processes that read and decode; 0 does it in the caller's thread.
      start_step: number of the first global batch.
      max_bad_records: more distinct corrupt records than this in this process are an error.
      copy: False hands out the workers' shared memory itself, which is faster; such arrays must
        be gone, or on a device, before the interpreter exits.

    Returns:
      Iterator of ``{"image": uint8 [b, H, W, C], "label": int32 [b], "index": int64 [b]}`` with
      b = batch_size / process_count; "index" is the record's place in `dataset.train`.

    Raises:
      ValueError: an argument is out of range.
    """
    local = _local_batch_size(batch_size, process_index, process_count, num_workers)
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed: {seed}, expected 0 to 2**32 - 1")
    example = TrainExample(dataset.train, dataset.train_transform, seed, max_bad_records)

    def read_from(step: int) -> Iterator[dict[str, Any]]:
        import grain

        order = EndlessOrder(len(dataset.train), seed)
        examples = grain.MapDataset.source(order).map_with_index(example)
        return _read(
            examples, local, step * process_count + process_index, process_count, num_workers
        )

    identity: dict[str, str | int] = {
        "dataset": dataset.name,
        "records": len(dataset.train),
        "batch_size": batch_size,
        "seed": seed,
    }
    return BatchIterator(
        read_from, identity, max_bad_records, step=start_step, num_workers=num_workers, copy=copy
    )


def eval_batches(
    dataset: Dataset,
    batch_size: int,
    *,
    process_index: int = 0,
    process_count: int = 1,
    num_workers: int = 0,
    max_bad_records: int = 100,
    copy: bool = True,
) -> BatchIterator:
    """One pass over the evaluation split, in order, each image exactly once over all processes.

    Every process yields the same number of batches of the same shape: what is missing at the end is
    filled with black images of weight 0. A corrupt record also becomes one of these.

    Args:
      dataset: from `load`.
      batch_size: over all processes; a multiple of `process_count`.
      process_index: which part of each global batch to yield.
      process_count: number of such parts.
      num_workers: worker processes that read and decode; 0 does it in the caller's thread.
      max_bad_records: more distinct corrupt records than this in this process are an error.
      copy: False hands out the workers' shared memory itself, which is faster; such arrays must
        be gone, or on a device, before the interpreter exits.

    Returns:
      Iterator with a length. Its batches are those of `train_batches` with one more array,
      "weight", float32 [b], which is 1 for an image and 0 for filling, whose "label" is 0 and
      "index" −1.

    Raises:
      ValueError: an argument is out of range.
    """
    local = _local_batch_size(batch_size, process_index, process_count, num_workers)
    length = math.ceil(len(dataset.evaluation) / batch_size)
    example = EvalExample(dataset.evaluation, dataset.eval_transform, dataset.image_shape)

    def read_from(step: int) -> Iterator[dict[str, Any]]:
        import grain

        if step >= length:
            return iter(())
        examples = grain.MapDataset.range(length * batch_size).map(example)
        return _read(
            examples, local, step * process_count + process_index, process_count, num_workers
        )

    identity: dict[str, str | int] = {
        "dataset": dataset.name,
        "records": len(dataset.evaluation),
        "batch_size": batch_size,
    }
    return BatchIterator(
        read_from, identity, max_bad_records, length=length, num_workers=num_workers, copy=copy
    )


def _read(
    examples: Any, local_batch: int, first: int, stride: int, num_workers: int
) -> Iterator[dict[str, Any]]:
    """Every `stride`-th local batch of `examples`, from number `first` on."""
    import grain

    batches = examples.batch(local_batch, batch_fn=collate)[first::stride]
    # No threads: whole processes decode images, and arrays in memory would gain nothing.
    reader = batches.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
    if num_workers:
        from absl import flags

        # Grain hands its absl flags to the workers and fails where nobody has parsed any, as in a
        # notebook; their defaults will do.
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        reader = reader.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=2),
            worker_init_fn=_leave_ctrl_c_to_the_run,
        )
    return iter(reader)


def _leave_ctrl_c_to_the_run(worker: int, workers: int) -> None:
    """A terminal sends Ctrl-C to every process, but only the run knows what to do about it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _local_batch_size(
    batch_size: int, process_index: int, process_count: int, num_workers: int
) -> int:
    if process_count < 1 or not 0 <= process_index < process_count:
        raise ValueError(
            f"process_index: {process_index} of process_count {process_count}, "
            "expected 0 <= process_index < process_count"
        )
    if batch_size < 1 or batch_size % process_count:
        raise ValueError(
            f"batch_size: {batch_size}, expected a positive multiple of process_count "
            f"{process_count}"
        )
    if num_workers < 0:
        raise ValueError(f"num_workers: {num_workers}, expected at least 0")
    return batch_size // process_count
