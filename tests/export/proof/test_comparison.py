import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from n2uq_jax.export.program.build import build
from n2uq_jax.export.proof.comparison import check_images, compare
from n2uq_jax.export.trace.model import trace_model
from tests.export.dense_network import (
    SHAPE,
    affine,
    built,
    codes_of,
    multiply,
    parameters,
    pixels,
    quantize,
    sums_of,
)


def test_equal_programs_differ_nowhere():
    steps = []
    data = compare(*built(), pixels(), batch_size=40, progress=lambda *step: steps.append(step))
    assert data.images == 64
    assert data.differing == data.differing_top1 == data.shared == data.plain_flips == 0
    assert data.largest_logit_difference == 0
    codes = codes_of(sums_of(pixels()))
    assert data.layers["head"].codes == codes.size  # images that fill up a batch do not count
    assert data.layers["head"].largest_share == np.bincount(codes.ravel()).max() / codes.size
    assert steps == [("Comparing on images", start, 64) for start in (0, 40, 64)]


def test_differences_are_counted():
    program, traced, arrays = built()
    held = program.thresholds["head"]
    moved = dataclasses.replace(held, points=np.r_[held.points[:1] + 200, held.points[1:]])
    broken = dataclasses.replace(program, thresholds={"head": moved})
    data = compare(broken, traced, arrays, pixels(), batch_size=64)

    sums, right = sums_of(pixels()), codes_of(sums_of(pixels()))
    wrong = right.copy()
    wrong[:, 0] = (sums[:, :1] > np.array([5, 55, 105]) + 200).sum(-1)
    assert data.differing == data.layers["head"].differing == (wrong != right).sum() > 0
    assert data.largest_logit_difference == 0.5 * np.abs(wrong - right).max()
    assert data.differing_top1 == (wrong.argmax(-1) != right.argmax(-1)).sum() > 0
    assert data.layers["head"].largest_share == np.bincount(right.ravel()).max() / right.size


def test_values_that_the_model_does_not_isolate_are_counted():
    def leaky(p, images):
        u = affine(p["dense"], multiply(p["dense"], images))
        return quantize(p["head"], u) + lax.optimization_barrier(jnp.sin(u))

    traced, arrays = trace_model((leaky, parameters()), SHAPE, np.uint8)
    program = build(traced, traced.constants(arrays))
    data = compare(program, traced, arrays, pixels(), batch_size=64)
    assert data.shared >= 1
    assert data.differing == 0


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 1, 2, 1), np.uint8), r"shape \(n, 1, 1, 2\), got \(2, 1, 2, 1\)"),
        (np.zeros((0, *SHAPE), np.uint8), r"got \(0, 1, 1, 2\)"),
        (np.zeros((2, *SHAPE), np.float32), "images must be uint8, got float32"),
    ],
)
def test_images_must_be_those_of_the_network(images, message):
    program, traced, arrays = built()
    with pytest.raises(ValueError, match=message):
        check_images(traced, images)
    with pytest.raises(ValueError, match=message):
        compare(program, traced, arrays, images)
