"""The integer program against the network on images."""

import dataclasses
import functools
from collections import Counter
from collections.abc import Collection
from typing import Any

import jax
import numpy as np

from n2uq_jax.export.program.program import IntegerProgram
from n2uq_jax.export.trace.graph import Value, evaluate
from n2uq_jax.export.trace.model import TracedModel
from n2uq_jax.export.trace.network import TracedNetwork
from n2uq_jax.export.trace.reference import Parameters
from n2uq_jax.progress import Progress, silent


@dataclasses.dataclass(frozen=True)
class LayerComparison:
    """The codes of one quantizer on data.

    Args:
      codes: how many were compared.
      differing: how many differ.
      largest_share: share of the most frequent code.
    """

    codes: int
    differing: int
    largest_share: float


@dataclasses.dataclass(frozen=True)
class DataComparison:
    """The program against the network on images.

    Args:
      images: how many.
      layers: per quantizer.
      largest_logit_difference: over all logits; NaN if a logit is not finite.
      differing_top1: images whose largest logit is another.
      shared: float values that several layers read although the model does not isolate them; the
        reference does.
      plain_flips: codes that differ between that reference and the network's plain jitted
        evaluation; 0 where ``shared`` is 0, since both are the same then.
      noise: whether the images were noise, on which networks do not show what they can.
    """

    images: int
    layers: dict[str, LayerComparison]
    largest_logit_difference: float
    differing_top1: int
    shared: int
    plain_flips: int
    noise: bool = False

    @property
    def differing(self) -> int:
        """Codes that differ in any layer."""
        return sum(layer.differing for layer in self.layers.values())


def compare(
    program: IntegerProgram,
    traced: TracedModel,
    parameters: Parameters,
    images: np.ndarray,
    *,
    batch_size: int = 64,
    progress: Progress = silent,
) -> DataComparison:
    """Compares a program with a network on images: codes of every layer, logits, top-1.

    Args:
      program: the integer program.
      traced: the network.
      parameters: its parameters.
      images: shape ``(n, *image_shape)``, in the dtype that the network takes.
      batch_size: how many to evaluate at a time.
      progress: told about each batch.

    Returns:
      What was compared, and what differs.

    Raises:
      ValueError: if ``images`` do not have the program's shape or dtype.
    """
    check_images(traced, images)
    batch_size = min(batch_size, len(images))
    network = traced.at(batch_size)
    plain = jax.jit(traced.function)
    with_codes = jax.jit(functools.partial(_evaluate, network, ()))
    isolated = jax.jit(functools.partial(_evaluate, network, network.shared))
    reference = isolated if network.shared else with_codes
    differing: Counter[str] = Counter()
    counts: dict[str, np.ndarray] = {}
    plain_flips = differing_top1 = 0
    largest = 0.0
    for start in range(0, len(images), batch_size):
        progress("Comparing on images", start, len(images))
        batch, n = full_batch(images, start, batch_size)
        logits, codes = program.codes(batch)
        expected_logits, expected = reference(parameters, batch)
        if network.shared:
            _, flipped = with_codes(parameters, batch)
            plain_flips += sum(int((flipped[k][:n] != expected[k][:n]).sum()) for k in expected)
        else:
            # Nothing had to be isolated, so looking at the codes must not have changed anything.
            expected_logits = plain(parameters, batch)
        for name, values in expected.items():
            a, b = np.asarray(codes[name])[:n], np.asarray(values)[:n]
            differing[name] += int((a != b).sum())
            seen = np.bincount(b.astype(np.int64).ravel(), minlength=256)
            counts[name] = counts.get(name, 0) + seen
        a, b = np.asarray(logits)[:n], np.asarray(expected_logits)[:n]
        # Unlike Python's max, this keeps a NaN; the difference of two infinities is one.
        with np.errstate(invalid="ignore"):
            largest = float(np.maximum(largest, np.abs(a - b).max()))
        differing_top1 += int((a.argmax(-1) != b.argmax(-1)).sum())
    progress("Comparing on images", len(images), len(images))
    layers = {
        name: LayerComparison(int(c.sum()), differing[name], float(c.max() / c.sum()))
        for name, c in counts.items()
    }
    return DataComparison(
        images=len(images),
        layers=layers,
        largest_logit_difference=largest,
        differing_top1=differing_top1,
        shared=len(network.shared),
        plain_flips=plain_flips,
    )


def check_images(traced: TracedModel, images: np.ndarray) -> None:
    """Raises ValueError if images do not have the shape and dtype that a network takes.

    Args:
      traced: the network.
      images: with a batch axis in front.
    """
    if images.shape[1:] != traced.image_shape or len(images) == 0:
        raise ValueError(
            f"images must have shape (n, {', '.join(map(str, traced.image_shape))}), "
            f"got {images.shape}."
        )
    if images.dtype != traced.image_dtype:
        raise ValueError(f"images must be {traced.image_dtype}, got {images.dtype}.")


def _evaluate(
    network: TracedNetwork, isolated: Collection[Value], parameters: Parameters, images: Any
) -> tuple[Any, dict[str, Any]]:
    """Returns the network's own logits and codes."""
    graph = network.graph
    env = {graph.parameters[name]: array for name, array in parameters.items()}
    env[graph.inputs[0]] = images
    evaluate(graph.ops, env, isolated)
    return env[graph.outputs[0]], {q.name: env[q.codes] for q in network.quantizers}


def full_batch(images: np.ndarray, start: int, size: int) -> tuple[np.ndarray, int]:
    """Takes a batch of images, which is filled up where they end.

    Args:
      images: all of them.
      start: the first of the batch.
      size: of the batch.

    Returns:
      The batch, and how many of its images count.
    """
    batch = images[start : start + size]
    n = len(batch)
    return np.concatenate([batch, np.repeat(batch[:1], size - n, axis=0)]), n
