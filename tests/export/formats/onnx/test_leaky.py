import jax.numpy as jnp
import numpy as np
import onnx
import pytest

from n2uq_jax.export import build_program
from n2uq_jax.export.formats.onnx.runtime import to_onnx
from tests.export.formats.onnx.test_runtime import run_onnx

SHIFT, HALF = 4, 8


def program_of(multiplier, *, keep_negative=False, half=HALF):
    """Returns the program of a matrix product and a leaky activation, and images."""
    weight = np.random.default_rng(0).integers(-9, 10, (3, 4)).astype(np.int32)

    def leaky(p, images):
        u = images.reshape(-1, 3).astype(jnp.int32) @ weight - 99
        scaled = (jnp.asarray(multiplier, jnp.int32)[None] * u + half) >> SHIFT
        bent = jnp.where(u < 0, u, scaled) if keep_negative else jnp.where(u >= 0, u, scaled)
        return bent.astype(jnp.float32)

    images = np.random.default_rng(1).integers(0, 256, (500, 1, 1, 3)).astype(np.uint8)
    return build_program((leaky, {}), (1, 1, 3), image_dtype=np.uint8), images


@pytest.mark.parametrize(
    ("multiplier", "options", "operator"),
    [
        ([0, 3, 16, -5], {}, "Max"),
        ([16, 17, 40, 99], {}, "Min"),
        ([3, 3, 40, 40], {}, "Mul"),
        ([3, 3, 5, 5], {"keep_negative": True}, "Mul"),
        ([3, 3, 5, 5], {"half": 16}, "Mul"),
    ],
)
def test_a_leaky_activation_is_an_extremum_where_that_is_the_same(multiplier, options, operator):
    program, images = program_of(multiplier, **options)
    serialised = to_onnx(program)
    got = run_onnx(serialised, images)["logits"]
    np.testing.assert_array_equal(got, program(images))
    assert 0.05 < (got < 0).mean() < 0.95
    nodes = onnx.load_from_string(serialised).graph.node
    assert "Where" not in {node.op_type for node in nodes}
    extrema = {node.op_type for node in nodes} & {"Max", "Min"}
    assert extrema == ({operator} if operator != "Mul" else set())
