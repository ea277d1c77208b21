"""From a record number to an example of a batch, whatever its record holds.

A corrupt record must change neither the shape of a batch nor anybody else's place in it. What went
wrong travels with the batch as text, since it may have happened in a worker process while only the
main process can count for all of them.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from n2uq_jax.data.dataset import CorruptRecordError, Record, Source


class _Draws(threading.local):
    """The random numbers of an example: a thread's one generator, set to where they begin.

    Philox enciphers a counter, so any place of its sequence is as near as the first. To make a
    generator anew would take longer than to augment a small image.
    """

    def __init__(self) -> None:
        self.generator = np.random.Generator(np.random.Philox(0))
        self.state: Any = self.generator.bit_generator.state

    def start(self, seed: int, epoch: int, index: int) -> np.random.Generator:
        """Returns the generator for an example; it is good until the next one starts."""
        self.state["state"] = {
            "counter": np.array([0, index, epoch, 0], np.uint64),
            "key": np.array([seed, 0], np.uint64),
        }
        self.generator.bit_generator.state = self.state
        return self.generator


_draws = _Draws()


@dataclasses.dataclass(frozen=True)
class TrainExample:
    """(position, record index) -> an augmented example; a corrupt record gives way to the next."""

    source: Source
    transform: Callable[[np.ndarray | bytes, np.random.Generator], np.ndarray]
    seed: int
    max_bad_records: int

    def __call__(self, position: int, index: int) -> dict[str, Any]:
        """The example at `position` of the endless order, where the shuffle put `index`."""
        length = len(self.source)
        epoch = position // length
        bad_records: list[str] = []
        for candidate in range(index, index + min(length, self.max_bad_records + 1)):
            chosen = candidate % length
            try:
                record = self.source[chosen]
                image = _apply(self.transform, record, _draws.start(self.seed, epoch, chosen))
            except CorruptRecordError as error:
                bad_records.append(str(error))
                continue
            return {
                "image": image,
                "label": record["label"],
                "index": chosen,
                "bad_records": bad_records,
            }
        raise RuntimeError(
            f"{len(bad_records)} corrupt records in a row, with "
            f"max_bad_records={self.max_bad_records}: {'; '.join(bad_records)}"
        )


@dataclasses.dataclass(frozen=True)
class EvalExample:
    """Record index -> an example of weight 1; beyond the end or where corrupt, one of weight 0."""

    source: Source
    transform: Callable[[np.ndarray | bytes], np.ndarray]
    image_shape: tuple[int, int, int]

    def __call__(self, index: int) -> dict[str, Any]:
        """The example of record `index`, or filling where there is none."""
        bad_records: list[str] = []
        if index < len(self.source):
            try:
                record = self.source[index]
                image = _apply(self.transform, record)
            except CorruptRecordError as error:
                bad_records.append(str(error))
            else:
                return {
                    "image": image,
                    "label": record["label"],
                    "index": index,
                    "weight": 1.0,
                    "bad_records": bad_records,
                }
        return {
            "image": np.zeros(self.image_shape, np.uint8),
            "label": 0,
            "index": -1,
            "weight": 0.0,
            "bad_records": bad_records,
        }


def _apply(transform: Callable[..., np.ndarray], record: Record, *args: Any) -> np.ndarray:
    try:
        return transform(record["image"], *args)
    except CorruptRecordError as error:
        raise CorruptRecordError(f"{record['name']}: {error}") from error


_DTYPES = {"image": np.uint8, "label": np.int32, "index": np.int64, "weight": np.float32}


def collate(examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Stacks examples into a batch; "bad_records" becomes one flat tuple of descriptions."""
    batch: dict[str, Any] = {
        key: np.stack([np.asarray(example[key], dtype) for example in examples])
        for key, dtype in _DTYPES.items()
        if key in examples[0]
    }
    batch["bad_records"] = tuple(bad for example in examples for bad in example["bad_records"])
    return batch
