"""Input pipelines: one road from files on disk to uint8 batches, whatever the data set.

dataset = data.load("digits")
batches = data.train_batches(dataset, batch_size=128, seed=0)
with data.Prefetch(batches, put=jax.device_put) as on_device:
    batch = next(on_device)   # {"image": uint8 [B, H, W, C], "label": int32 [B], ...}
"""

from n2uq_jax.data.dataset import CorruptRecordError, Dataset, Record, Source
from n2uq_jax.data.iterator import BatchIterator
from n2uq_jax.data.load import load
from n2uq_jax.data.normalize import normalize
from n2uq_jax.data.pipeline import eval_batches, steps_per_epoch, train_batches
from n2uq_jax.data.prefetch import Prefetch

__all__ = [
    "BatchIterator",
    "CorruptRecordError",
    "Dataset",
    "Prefetch",
    "Record",
    "Source",
    "eval_batches",
    "load",
    "normalize",
    "steps_per_epoch",
    "train_batches",
]
