import pytest
from flax import nnx

from n2uq_jax import models
from n2uq_jax.nn.integer import grids


@pytest.mark.parametrize(
    ("name", "starts"),
    [
        ("resnet8", ["stages/1/0/grid", "stages/2/0/grid"]),
        pytest.param(
            "mobilenet_v2",
            # Blocks 2, 4, 5, 7 and so on add to the stream that they read.
            [f"blocks/{i}/grid" for i in (0, 1, 3, 6, 10, 13, 16)] + ["last_grid"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_streams_begin_where_shapes_change(name, starts):
    model = nnx.eval_shape(
        lambda: models.create(name, w_bits=2, a_bits=2, integer_only=True, rngs=nnx.Rngs(0))
    )
    assert sorted(grids(model)) == sorted(["grid", "head/grid", *starts])
