"""Proof that an integer program computes what the network does."""

import dataclasses
import math
from collections import Counter
from typing import Any

import jax
import numpy as np

from n2uq_jax.export.program.program import IntegerProgram
from n2uq_jax.export.proof.comparison import DataComparison, check_images, compare
from n2uq_jax.export.proof.edges import EdgeProof, prove_edges
from n2uq_jax.export.trace.model import TracedModel, trace_model
from n2uq_jax.export.trace.reference import Model, Parameters
from n2uq_jax.progress import Progress, silent

_IN_WORDS = {
    "equal": "EQUAL to the network",
    "not equal": "NOT EQUAL to the network",
    "nothing to prove": "NOTHING TO PROVE, as it has no quantized activations",
}


@dataclasses.dataclass(frozen=True)
class Proof:
    """What :func:`prove` found.

    Args:
      backend: platform that the network's arithmetic was compiled for.
      tensors: names of the program's weights and parameters that differ from the network's.
      edges: every folded quantizer.
      data: the comparison on images.
      integer_only: whether nothing in the program is float between images and logits but the last
        scale, so that it is equal on every device.
    """

    backend: str
    tensors: list[str]
    edges: list[EdgeProof]
    data: DataComparison
    integer_only: bool = False

    @property
    def ok(self) -> bool:
        """Whether something was compared, and all of it is the network's.

        That is every threshold, weight and parameter, code and top-1 decision; no logit may be
        NaN or infinite. The logits themselves are asked for in an integer-only program alone: a
        float head is arithmetic that a compiler may merge with what is in front of it in one
        program and not in the other.
        """
        return self.verdict == "equal"

    @property
    def verdict(self) -> str:
        """``"equal"``, ``"not equal"``, or ``"nothing to prove"`` where no layer was compared."""
        largest = self.data.largest_logit_difference
        differs = (
            self.tensors
            or any(edge.differing for edge in self.edges)
            or self.data.differing
            or self.data.differing_top1
            or not math.isfinite(largest)
            or (self.integer_only and largest)
        )
        if differs:
            return "not equal"
        return "equal" if self.edges or self.data.layers else "nothing to prove"

    @property
    def values(self) -> int:
        """Integers compared, over all edges."""
        return sum(edge.values for edge in self.edges)

    def __str__(self) -> str:
        kinds = sum((Counter(edge.channels) for edge in self.edges), Counter())
        channels = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        wrong = sum(edge.differing for edge in self.edges)
        data = self.data
        codes = sum(layer.codes for layer in data.layers.values())
        lines = [
            f"{'integer-only' if self.integer_only else 'integer'} program on {self.backend}: "
            f"{_IN_WORDS[self.verdict]}",
            f"  thresholds: {len(self.edges)} layers, {self.values:,} accumulators compared, "
            f"{wrong:,} codes differ ({channels})",
            f"  weights and parameters: {len(self.tensors)} differ",
            f"  on {data.images:,} images{' of noise' * data.noise}: {data.differing:,} of "
            f"{codes:,} codes differ, {data.differing_top1} top-1, largest logit difference "
            f"{data.largest_logit_difference:g}",
        ]
        if data.shared:
            lines.append(
                f"  {data.shared} values that the model does not isolate were isolated; its plain "
                f"jitted evaluation has {data.plain_flips:,} other codes"
            )
        return "\n".join(lines)


def prove(
    program: IntegerProgram,
    model: Model,
    images: np.ndarray,
    *,
    batch_size: int = 64,
    progress: Progress = silent,
) -> Proof:
    """Compares an integer program with the network it was made from.

    First every accumulator of every folded quantizer, through the network's own arithmetic,
    compiled anew; then weights and parameters; then the whole program on images, against the
    jitted float32 evaluation on this backend.

    Args:
      program: to be proven.
      model: what it was built from.
      images: shape ``(n, *program.image_shape)``; float32, or uint8 if the model takes that.
      batch_size: of the comparison on images.
      progress: told about each step.

    Returns:
      What was compared, and what differs.

    Raises:
      ValueError: if ``images`` do not have the program's shape or dtype.
    """
    check_images(program.traced, images)
    traced, parameters = trace_model(model, program.image_shape, program.traced.image_dtype)
    return prove_traced(
        program, traced, parameters, images, batch_size=batch_size, progress=progress
    )


def prove_traced(
    program: IntegerProgram,
    traced: TracedModel,
    parameters: Parameters,
    images: np.ndarray,
    *,
    batch_size: int = 64,
    progress: Progress = silent,
) -> Proof:
    """Does what :func:`prove` does, with a model that is traced already.

    Args:
      program: to be proven.
      traced: the network.
      parameters: its parameters.
      images: shape ``(n, *program.image_shape)``.
      batch_size: of the comparison on images.
      progress: told about each step.

    Returns:
      What was compared, and what differs.
    """
    network = traced.at_sampling_batch()
    constants = traced.constants(parameters)
    _, used = network.live(program.thresholds)
    return Proof(
        backend=jax.default_backend(),
        tensors=[name for name in used if not _same(program.tensors[name], constants[name])],
        edges=list(prove_edges(program.thresholds, network, constants, progress)),
        data=compare(program, traced, parameters, images, batch_size=batch_size, progress=progress),
        integer_only=program.integer_only,
    )


def _same(a: Any, b: Any) -> bool:
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
