"""The C program against XLA on images."""

import dataclasses
from collections import Counter

import numpy as np

from n2uq_jax.export.formats.c.engine import NativeProgram
from n2uq_jax.export.formats.c.generate import generate
from n2uq_jax.export.formats.c.lowering import lower
from n2uq_jax.export.program.program import IntegerProgram
from n2uq_jax.export.proof.comparison import full_batch
from n2uq_jax.progress import Progress, silent


@dataclasses.dataclass(frozen=True)
class NativeComparison:
    """The codes and logits of the C program against those in XLA.

    Args:
      images: how many.
      codes: how many were compared, per quantizer; none of an integer-only program, whose logits
        are integers that every code takes part in.
      differing: how many of them are another code, per quantizer.
      logits: how many.
      differing_logits: how many of them are another number.
      differing_top1: images whose largest logit is another.
      largest_logit_difference: over all logits.
    """

    images: int
    codes: dict[str, int]
    differing: dict[str, int]
    logits: int
    differing_logits: int
    differing_top1: int
    largest_logit_difference: float

    def __str__(self) -> str:
        if self.codes:
            flipped = f"{sum(self.differing.values()):,} of {sum(self.codes.values()):,} codes"
        else:
            flipped = f"{self.differing_logits:,} of {self.logits:,} logits"
        return (
            f"{flipped} differ from XLA, {self.differing_top1} top-1, "
            f"largest logit difference {self.largest_logit_difference:g}"
        )


def compare_native(
    program: IntegerProgram,
    images: np.ndarray,
    *,
    batch_size: int = 64,
    flags: tuple[str, ...] = (),
    progress: Progress = silent,
) -> NativeComparison:
    """Compiles a program as C, and compares it with XLA on images.

    Args:
      program: the integer program.
      images: shape ``(n, *image_shape)``, in the dtype that the network takes.
      batch_size: of XLA.
      flags: more of the compiler's.
      progress: told about each batch.

    Returns:
      What was compared, and what differs.

    Raises:
      CompilerError: if there is no C compiler.
    """
    network = lower(program)
    tensors = {} if program.integer_only else network.codes
    source = generate(network, kept=tensors.values())
    native = NativeProgram(source, threads=1, flags=flags)
    batch_size = min(batch_size, len(images))
    codes: Counter[str] = Counter(dict.fromkeys(tensors, 0))
    differing: Counter[str] = Counter(dict.fromkeys(tensors, 0))
    all_logits, all_expected = [], []
    for start in range(0, len(images), batch_size):
        progress("Comparing the C program", start, len(images))
        batch, n = full_batch(images, start, batch_size)
        expected, expected_codes = program.codes(batch)
        all_expected.append(np.asarray(expected)[:n])
        if not tensors:
            all_logits.append(native.logits(batch[:n]))
            continue
        for i in range(n):
            found = native.tensors(batch[i])
            all_logits.append(found[network.output].reshape(1, -1))
            for name, tensor in tensors.items():
                array = found[tensor]
                there = np.asarray(expected_codes[name][i]).reshape(array.shape)
                codes[name] += array.size
                differing[name] += int((array != there).sum())
    progress("Comparing the C program", len(images), len(images))
    a, b = np.concatenate(all_logits), np.concatenate(all_expected)
    return NativeComparison(
        images=len(images),
        codes=dict(codes),
        differing=dict(differing),
        logits=a.size,
        differing_logits=int((a != b).sum()),
        differing_top1=int((a.argmax(-1) != b.argmax(-1)).sum()),
        largest_logit_difference=float(np.abs(a - b).max()),
    )
