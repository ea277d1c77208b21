import numpy as np
import pytest
from flax import nnx

from n2uq_jax import models


def create(**kwargs):
    kwargs = {"w_bits": 2, "a_bits": 2, "width": 4, "integer_only": True, **kwargs}
    return models.create("resnet8", **kwargs, rngs=nnx.Rngs(0))


@pytest.mark.slow
def test_float_shortcuts_become_8_bit_ones():
    model = create(quantize_downsample=False)
    assert model.stages[1][0].shortcut.conv.bits == 8
    model.eval()
    pixels = np.random.default_rng(0).integers(0, 256, (4, 12, 12, 3)).astype(np.uint8)
    assert np.isfinite(np.asarray(nnx.jit(lambda m, x: m(x))(model, pixels))).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"w_bits": None, "a_bits": None}, "wants w_bits and a_bits"),
        ({"stream_bits": 7}, "stream_bits must be an int from 8 to 16, got 7"),
        ({"stem_bits": 9}, "stem_bits must be an int from 2 to 8, got 9"),
        ({"head_bits": True}, "head_bits must be an int from 2 to 8, got True"),
        ({"in_features": 1}, "mean and std must have 1 numbers"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        create(**arguments)
