"""Measures what calibration is worth on Fashion-MNIST, before training and after one epoch.

Needs a float network that was trained on the same data:

    python -m n2uq_jax.main --config configs/fashion_mnist_w2a2.py --workdir runs/fashion
    python benchmarks/calibration.py --workdir runs/fashion
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import n2uq_jax as n2uq
from n2uq_jax.data import load


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--data", default="/usr/share/datasets/fashion-mnist")
    parser.add_argument("--bits", nargs="+", type=int, default=[4, 3, 2])
    parser.add_argument("--images", type=int, default=512, help="for calibration")
    parser.add_argument("--train-bits", nargs="*", type=int, default=[2])
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=2.5e-3)
    arguments = parser.parse_args()

    data = load("idx", arguments.data)
    train, test = (
        (normalised(split.images, data), split.labels) for split in (data.train, data.evaluation)
    )
    network = n2uq.load(arguments.workdir, stage="float")
    sample = [train[0][: arguments.images]]
    print(f"float: {accuracy(network, *test):.2%}")
    print("| bits | fixed start | thresholds calibrated | and BatchNorm re-estimated |")
    print("|---|---|---|---|")
    for bits in arguments.bits:
        fixed, thresholds, both = (quantized(network, bits) for _ in range(3))
        n2uq.calibrate(thresholds, sample, batch_norm=False)
        n2uq.calibrate(both, sample)
        results = [accuracy(model, *test) for model in (fixed, thresholds, both)]
        print(f"| {bits} | " + " | ".join(f"{r:.2%}" for r in results) + " |", flush=True)
    for bits in arguments.train_bits:
        for start in ("fixed", "calibrated"):
            model = quantized(network, bits)
            if start == "calibrated":
                n2uq.calibrate(model, sample)
            loss = train_epoch(model, *train, arguments.batch_size, arguments.learning_rate)
            print(
                f"{bits} bits, {start} start, after one epoch: {accuracy(model, *test):.2%}, "
                f"mean loss of the epoch {loss:.4f}",
                flush=True,
            )


def normalised(images, data):
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


def train_epoch(model, images, labels, batch_size, learning_rate):
    """Trains with Adam and a linearly falling rate, quantizers at a tenth; no augmentation."""
    model.train()
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    order = np.random.default_rng(0).permutation(len(images))
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

        (value, rest), grads = jax.value_and_grad(loss, has_aux=True)(params)
        updates, moments = optimizer.update(grads, moments, params)
        return optax.apply_updates(params, updates), rest, moments, value

    losses = []
    for i in range(steps):
        batch = order[i * batch_size : (i + 1) * batch_size]
        params, rest, moments, value = step(params, rest, moments, images[batch], labels[batch])
        losses.append(value)
    nnx.update(model, params, rest)
    return float(np.mean(losses))


if __name__ == "__main__":
    main()
