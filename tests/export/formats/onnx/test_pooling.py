import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from jax import lax

from n2uq_jax.export import build_program
from n2uq_jax.export.formats.onnx.runtime import to_onnx
from tests.export.formats.onnx.test_runtime import run_onnx
from tests.export.integer_network import SHAPE, convolve, parameters, pixels, row


def network(p, images, *, also=False):
    """A first convolution whose rescaled sums are pooled; some channels fall."""
    stem = p["stem"]
    acc = convolve(images.astype(jnp.int32) - row([120, 100, 90]), stem["kernel"].astype(jnp.int32))
    moved = (row(stem["multiplier"]) * acc + row(stem["offset"])) >> jnp.int32(9)
    stream = jnp.maximum(jnp.clip(moved, -2047, 2047), -500)
    pads = ((0, 0), (1, 1), (1, 1), (0, 0))
    pooled = lax.reduce_window(stream, -(2**31), lax.max, (1, 3, 3, 1), (1, 2, 2, 1), pads)
    sums = pooled.sum((1, 2)) + (stream.sum((1, 2)) if also else 0)
    return sums.astype(jnp.float32) * jnp.float32(0.25)


@pytest.mark.parametrize("also", [False, True])
def test_a_pool_comes_first_unless_something_else_reads_what_it_pools(also):
    p = parameters()
    assert (p["stem"]["multiplier"] < 0).any()
    model = (lambda p, images: network(p, images, also=also), p)
    program = build_program(model, SHAPE, image_dtype=np.uint8)
    serialised = to_onnx(program)
    for optimized in (True, False):
        got = run_onnx(serialised, pixels(3), optimized=optimized)["logits"]
        np.testing.assert_array_equal(got, program(pixels(3)))
    operators = [node.op_type for node in onnx.load_from_string(serialised).graph.node]
    assert (operators.index("MaxPool") < operators.index("BitShift")) != also


def test_a_pool_stays_behind_what_treats_positions_differently():
    places = np.random.default_rng(0).integers(-99, 99, (1, 6, 6, 8)).astype(np.int32)

    def moved(p, images):
        acc = convolve(images.astype(jnp.int32), p["stem"]["kernel"].astype(jnp.int32))
        stream = acc + jnp.asarray(places)
        windows = (1, 2, 2, 1)
        pooled = lax.reduce_window(stream, -(2**31), lax.max, windows, windows, ((0, 0),) * 4)
        return pooled.sum((1, 2)).astype(jnp.float32)

    program = build_program((moved, parameters()), SHAPE, image_dtype=np.uint8)
    got = run_onnx(to_onnx(program), pixels(3))["logits"]
    np.testing.assert_array_equal(got, program(pixels(3)))
