import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from n2uq_jax import nn
from n2uq_jax.training.diagnostics import changed_share, make_diagnostics, make_weight_codes
from n2uq_jax.training.state import split_model
from n2uq_jax.training.step import Pixels


class EveryLayer(nnx.Module):
    """One quantized layer of each kind."""

    def __init__(self):
        bits = {"w_bits": 2, "a_bits": 2, "rngs": nnx.Rngs(0)}
        self.conv = nn.QuantConv(1, 2, (3, 3), **bits)
        self.up = nn.QuantConvTranspose(2, 3, (2, 2), **bits)
        self.mix = nn.QuantEinsum("bhwc,cd->bhwd", (3, 4), **bits)
        self.flat = nn.QuantLinearGeneral((4, 4, 4), 5, axis=(1, 2, 3), **bits)
        self.head = nn.QuantLinear(5, 3, **bits)

    def __call__(self, x):
        return self.head(self.flat(self.mix(self.up(self.conv(x)))))


SHAPES = {
    "conv": (3, 3, 1, 2),
    "up": (2, 2, 2, 3),
    "mix": (3, 4),
    "flat": (64, 5),
    "head": (5, 3),
}


@pytest.fixture(scope="module")
def parts():
    return split_model(EveryLayer())


def test_the_weight_codes_of_every_kind_of_layer(parts):
    graphdefs, params, batch_stats = parts
    codes = make_weight_codes(graphdefs)(params, batch_stats)
    assert {name: value.shape for name, value in codes.items()} == SHAPES
    assert all(set(np.unique(value)) <= {-3, -1, 1, 3} for value in codes.values())
    assert {value.dtype for value in codes.values()} == {jnp.dtype(jnp.int16)}


def test_the_share_of_codes_that_changed(parts):
    graphdefs, params, batch_stats = parts
    weight_codes = make_weight_codes(graphdefs)
    before = weight_codes(params, batch_stats)
    assert changed_share(before, before) == 0
    opposite = weight_codes(nnx.map_state(lambda _, v: v.replace(-v[...]), params), batch_stats)
    assert changed_share(before, opposite) == 1
    one = {**before, "head": before["head"].at[0, 0].add(1)}
    total = sum(int(np.prod(shape)) for shape in SHAPES.values())
    assert changed_share(before, one) == pytest.approx(1 / total)


def test_the_quantizers_of_a_network():
    model = nn.QuantLinear(2, 1, w_bits=2, a_bits=2, rngs=nnx.Rngs(0))
    model.input_quantizer.intervals.set_value(jnp.array([0.25, 0.5, 0.125]))
    graphdefs, params, batch_stats = split_model(model)
    # Pixels 0 and 255 become 0 and 1, below the first threshold and above the last.
    diagnose = make_diagnostics(graphdefs, Pixels((0.0, 0.0), (1.0, 1.0), "float32"))
    images = jnp.array([[0, 255], [255, 255]], jnp.uint8)
    found = diagnose(params, batch_stats, images)
    assert float(found["min_interval"]) == 0.125
    assert float(found["saturated_share"]) == 0.75
