"""How fast images reach the training loop: decode and random crop, the pipeline around, workers.

    python benchmarks/input_pipeline.py

Prints medians over several rounds, on JPEGs of 500×375. What runs on one core is measured in
processor time and in turns, so that a busy machine disturbs it little; workers are measured by the
clock on the wall, and want the machine for themselves. TensorFlow is compared where it is
installed: `tf.image.decode_and_crop_jpeg`, bilinear resize and flip, in a tf.data map without
parallelism, boxes drawn as TensorFlow does.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from n2uq_jax import data
from n2uq_jax.data.crops import RandomResizedCrop, ResizeCenterCrop
from n2uq_jax.data.dataset import Record

SIZE = 224


def make_jpegs(count: int) -> list[bytes]:
    """Pieces of scikit-learn's two photographs, 110 kB a piece like ImageNet's files on average."""
    rng = np.random.default_rng(0)
    photographs = load_sample_images().images
    jpegs = []
    for number in range(count):
        photograph = photographs[number % len(photographs)]
        top = rng.integers(0, photograph.shape[0] - 375 + 1)
        left = rng.integers(0, photograph.shape[1] - 500 + 1)
        buffer = io.BytesIO()
        piece = Image.fromarray(photograph[top : top + 375, left : left + 500])
        piece.save(buffer, "JPEG", quality=95)
        jpegs.append(buffer.getvalue())
    return jpegs


@dataclasses.dataclass(frozen=True)
class Jpegs:
    """JPEGs in memory, as many as ImageNet has by repetition, so that no disk is measured."""

    jpegs: list[bytes]

    def __len__(self) -> int:
        return 1_281_167

    def __getitem__(self, index: int) -> Record:
        return {"image": self.jpegs[index % len(self.jpegs)], "label": 0, "name": str(index)}


def make_dataset(jpegs: list[bytes]) -> data.Dataset:
    source = Jpegs(jpegs)
    return data.Dataset(
        name="jpegs",
        train=source,
        evaluation=source,
        num_classes=1,
        image_shape=(SIZE, SIZE, 3),
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        train_transform=RandomResizedCrop(SIZE),
        eval_transform=ResizeCenterCrop(256, SIZE),
        preprocessing={},
    )


def bare(jpegs: list[bytes], images: int) -> Callable[[], None]:
    """Decode and crop in a plain loop."""
    transform = RandomResizedCrop(SIZE)

    def run() -> None:
        for index in range(images):
            transform(jpegs[index % len(jpegs)], np.random.default_rng(index))

    return run


def tensorflow_map(jpegs: list[bytes], images: int) -> Callable[[], None]:
    """The same in tf.data, one thread."""
    import tensorflow as tf

    def crop(content: tf.Tensor) -> tf.Tensor:
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            tf.image.extract_jpeg_shape(content),
            tf.zeros([1, 0, 4]),
            aspect_ratio_range=(3 / 4, 4 / 3),
            area_range=(0.08, 1.0),
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        top, left, _ = tf.unstack(begin)
        height, width, _ = tf.unstack(size)
        image = tf.image.decode_and_crop_jpeg(content, tf.stack([top, left, height, width]), 3)
        image = tf.image.resize(image, (SIZE, SIZE), tf.image.ResizeMethod.BILINEAR)
        return tf.image.random_flip_left_right(tf.cast(image, tf.uint8))

    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1
    # Or it reads ahead on another core, while other measurements run.
    options.autotune.enabled = False
    options.experimental_optimization.inject_prefetch = False
    dataset = tf.data.Dataset.from_tensor_slices(jpegs).repeat().map(crop).with_options(options)
    iterator = iter(dataset)

    def run() -> None:
        for _ in range(images):
            next(iterator)

    return run


def pipeline(iterator: data.BatchIterator, images: int, batch: int) -> Callable[[], None]:
    """Whole batches, from the source to this process."""

    def run() -> None:
        for _ in range(images // batch):
            next(iterator)

    return run


def rates(runs: dict[str, Callable[[], None]], images: int, rounds: int) -> dict[str, list[float]]:
    """Images/s of processor time, round by round, in turns; the first round only warms up."""
    measured: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name, run in runs.items():
            start = time.process_time()
            run()
            if turn:
                measured[name].append(images / (time.process_time() - start))
    return measured


def worker_rates(
    dataset: data.Dataset, images: int, rounds: int, batch: int
) -> dict[str, list[float]]:
    """Images/s by the clock, as the trainer reads them, in turns.

    Workers are started anew each time, since idle ones read ahead while others are measured.
    """
    measured: dict[str, list[float]] = {"one worker": [], "two workers": []}
    for _ in range(rounds):
        for number, values in enumerate(measured.values(), 1):
            with data.train_batches(dataset, batch, num_workers=number, copy=False) as iterator:
                pipeline(iterator, 16 * batch, batch)()
                start = time.perf_counter()
                pipeline(iterator, images, batch)()
                values.append(images / (time.perf_counter() - start))
    return measured


def ratio(measured: dict[str, list[float]], above: str, below: str) -> float:
    """Median over rounds of the ratio within a round."""
    pairs = zip(measured[above], measured[below], strict=True)
    return statistics.median(a / b for a, b in pairs)


def show(measured: dict[str, list[float]], unit: str) -> None:
    for name, values in measured.items():
        print(f"{name:24} {statistics.median(values):6.0f} {unit}")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=512, help="images a round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="rounds (%(default)s)")
    parser.add_argument("--batch", type=int, default=64, help="batch size (%(default)s)")
    args = parser.parse_args()
    jpegs = make_jpegs(64)
    dataset = make_dataset(jpegs)
    images = args.images // args.batch * args.batch
    kilobytes = statistics.mean(map(len, jpegs)) / 1000
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, JPEGs of {kilobytes:.0f} kB")

    # A third of the rounds, since starting workers takes seconds.
    workers = worker_rates(dataset, 8 * images, max(1, args.rounds // 3), args.batch)
    show(workers, "images/s")
    print(f"two workers over one: {ratio(workers, 'two workers', 'one worker'):.2f}")

    runs = {
        "decode + crop": bare(jpegs, images),
        "pipeline": pipeline(data.train_batches(dataset, args.batch), images, args.batch),
    }
    try:
        runs["tf.data"] = tensorflow_map(jpegs, images)
    except ImportError:
        print("tf.data: TensorFlow is not installed")
    one_core = rates(runs, images, args.rounds)
    show(one_core, "images/s of processor time")
    if "tf.data" in one_core:
        print(f"decode + crop over tf.data: {ratio(one_core, 'decode + crop', 'tf.data'):.2f}")
    overhead = ratio(one_core, "decode + crop", "pipeline") - 1
    print(f"pipeline over decode + crop: {100 * overhead:.0f} % more time")
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
