import dataclasses

import numpy as np
import pytest

from n2uq_jax.export.formats.c.layers import FloatConv
from n2uq_jax.export.formats.c.lowering import lower
from n2uq_jax.export.proof import native
from n2uq_jax.export.proof.native import NativeComparison, compare_native
from tests.export.networks import images

FAST = ("-O0",)


def test_no_code_of_a_small_network_flips(compiler, program):
    found = compare_native(program, images(9), batch_size=4, flags=FAST)
    assert found.images == 9
    assert set(found.codes) == set(program.folded) | set(program.unfolded)
    assert found.codes["stages/2/0/units/1/conv/input_quantizer"] == 9 * 2 * 2 * 32
    assert set(found.differing.values()) == {0}
    assert (found.logits, found.differing_top1) == (90, 0)
    assert found.largest_logit_difference < 1e-5


def test_flipped_codes_are_counted(compiler, program, monkeypatch):
    """A network whose first convolution is another has other codes, in C alone."""

    def other(program):
        network = lower(program)
        (first, *rest) = network.layers
        assert isinstance(first, FloatConv)
        first = dataclasses.replace(first, weight=first.weight + np.float32(0.2))
        return dataclasses.replace(network, layers=(first, *rest))

    monkeypatch.setattr(native, "lower", other)
    found = compare_native(program, images(5), flags=FAST)
    assert found.differing["stages/0/0/units/0/conv/input_quantizer"] > 0
    assert found.differing_logits > 0
    assert str(found).startswith(f"{sum(found.differing.values()):,} of 14,720 codes differ from")


@pytest.mark.parametrize(
    ("codes", "text"),
    [({"a": 9, "b": 1000}, "3 of 1,009 codes"), ({}, "2 of 50 logits")],
)
def test_a_comparison_is_told_in_words(codes, text):
    found = NativeComparison(5, codes, dict.fromkeys(codes, 0) | {"a": 3}, 50, 2, 1, 0.5)
    assert str(found) == f"{text} differ from XLA, 1 top-1, largest logit difference 0.5"
