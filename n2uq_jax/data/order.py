"""The endless order of training records: all of them in each epoch, shuffled anew."""

from __future__ import annotations

import dataclasses
import functools
import sys

import numpy as np


@dataclasses.dataclass(frozen=True)
class EndlessOrder:
    """Position -> record index, for as many positions as there are integers.

    Grain's own shuffle enciphers one index at a time, which takes longer than to augment a small
    image; here an epoch is shuffled at once, and takes 8 bytes a record.

    Args:
      length: number of records.
      seed: of the shuffles.
    """

    length: int
    seed: int

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, position: int) -> int:
        epoch, place = divmod(position, self.length)
        return int(_shuffled(self.length, self.seed, epoch)[place])


@functools.lru_cache(maxsize=2)  # a batch may lie in two epochs
def _shuffled(length: int, seed: int, epoch: int) -> np.ndarray:
    sequence = np.random.SeedSequence(seed, spawn_key=(epoch,))
    return np.random.default_rng(sequence).permutation(length)
