"""Measures what calibration is worth on Fashion-MNIST, before training and after one epoch.

Needs a float network that was trained on the same data:

    n2uq train --config configs/fashion_mnist_w2a2.py --workdir runs/fashion
    python benchmarks/calibration.py --workdir runs/fashion

5,000 training images, drawn with a fixed seed, are held out of calibration and of the epoch.
``--held-out`` measures on them, and everything that can be chosen (how calibration works, and on
how many images) was chosen there; without it the script measures on the test images. (The float
network has seen the held-out images in its own training, the test images never.)

The two starts of a seed see the same batches in the same order, without augmentation.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import n2uq_jax as n2uq
from n2uq_jax.data import load

HELD_OUT = 5000


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--data", default="/usr/share/datasets/fashion-mnist")
    parser.add_argument("--bits", nargs="+", type=int, default=[4, 3, 2])
    parser.add_argument("--held-out", action="store_true", help="measure on training images")
    parser.add_argument("--images", type=int, default=512, help="for calibration")
    parser.add_argument("--train-bits", nargs="*", type=int, default=[2])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=2.5e-3)
    arguments = parser.parse_args()

    data = load("idx", arguments.data)
    train, test = (
        (normalized(split.images, data), split.labels) for split in (data.train, data.evaluation)
    )
    held, rest = np.split(np.random.default_rng(0).permutation(len(train[0])), [HELD_OUT])
    train, held_out = ((train[0][i], train[1][i]) for i in (rest, held))
    if arguments.held_out:
        test = held_out
    network = n2uq.load(arguments.workdir, stage="float")
    sample = [train[0][: arguments.images]]
    print(f"float: {accuracy(network, *test):.2%} of {len(test[0]):,} images", flush=True)
    print("| bits | fixed start | thresholds calibrated | and BatchNorm re-estimated |")
    print("|---|---|---|---|")
    for bits in arguments.bits:
        fixed, thresholds, both = (quantized(network, bits) for _ in range(3))
        n2uq.calibrate(thresholds, sample, batch_norm=False)
        n2uq.calibrate(both, sample)
        results = [accuracy(model, *test) for model in (fixed, thresholds, both)]
        print(f"| {bits} | " + " | ".join(f"{r:.2%}" for r in results) + " |", flush=True)
    for bits in arguments.train_bits:
        compare_starts(network, bits, sample, train, test, arguments)


def compare_starts(network, bits, sample, train, test, arguments):
    print(f"| {bits} bits after one epoch, seed | fixed start | calibrated start |")
    print("|---|---|---|")
    results = []
    for seed in arguments.seeds:
        pair = []
        for calibrated in (False, True):
            model = quantized(network, bits)
            if calibrated:
                n2uq.calibrate(model, sample)
            order = np.random.default_rng(seed).permutation(len(train[0]))
            train_epoch(model, *train, order, arguments.batch_size, arguments.learning_rate)
            pair.append(accuracy(model, *test))
        results.append(pair)
        print(f"| {seed} | {pair[0]:.2%} | {pair[1]:.2%} |", flush=True)
    mean = np.mean(results, axis=0)
    print(f"| mean | {mean[0]:.2%} | {mean[1]:.2%} |", flush=True)


def normalized(images, data):
    return ((images / np.float32(255) - data.mean) / data.std).astype(np.float32)


def quantized(network, bits):
    return n2uq.quantize(network, [n2uq.Rule(".*", w_bits=bits, a_bits=bits)])


def accuracy(model, images, labels, batch_size=500):
    model = nnx.view(model, use_running_average=True, raise_if_not_found=False)
    graph, state = nnx.split(model)
    predict = jax.jit(lambda state, x: nnx.merge(graph, state)(x).argmax(-1))
    batches = range(0, len(images), batch_size)
    found = [predict(state, images[i : i + batch_size]) for i in batches]
    return float(np.mean(np.concatenate(found) == labels))


def train_epoch(model, images, labels, order, batch_size, learning_rate):
    """Trains with Adam and a linearly falling rate, quantizers at a tenth; no augmentation."""
    model.train()
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    steps = len(images) // batch_size

    def adam(factor):
        return optax.adam(optax.linear_schedule(factor * learning_rate, 0.0, steps))

    optimizer = optax.partition(
        {"default": adam(1.0), "quantizer": adam(0.1)}, n2uq.optimizer_labels
    )
    moments = optimizer.init(params)

    @jax.jit
    def step(params, rest, moments, x, y):
        def loss(params):
            copy = nnx.merge(graph, params, rest, copy=True)
            losses = optax.softmax_cross_entropy_with_integer_labels(copy(x), y)
            return jnp.mean(losses), nnx.split(copy, nnx.Param, ...)[2]

        grads, rest = jax.grad(loss, has_aux=True)(params)
        updates, moments = optimizer.update(grads, moments, params)
        return optax.apply_updates(params, updates), rest, moments

    for i in range(steps):
        batch = order[i * batch_size : (i + 1) * batch_size]
        params, rest, moments = step(params, rest, moments, images[batch], labels[batch])
    nnx.update(model, params, rest)


if __name__ == "__main__":
    main()
