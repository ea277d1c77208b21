import pytest
from flax import nnx

from n2uq_jax import nn
from n2uq_jax.conversion.layers import quantized_form


@pytest.mark.parametrize(
    ("layer", "form"),
    [
        (lambda rngs: nnx.Conv(1, 1, 3, rngs=rngs), nn.QuantConv),
        (lambda rngs: nnx.ConvTranspose(1, 1, 3, rngs=rngs), nn.QuantConvTranspose),
        (lambda rngs: nnx.Linear(1, 1, rngs=rngs), nn.QuantLinear),
        (lambda rngs: nnx.LinearGeneral(1, 1, rngs=rngs), nn.QuantLinearGeneral),
        (lambda rngs: nnx.Einsum("a,ab->b", (1, 1), rngs=rngs), nn.QuantEinsum),
        (lambda rngs: nnx.BatchNorm(1, rngs=rngs), None),
        (lambda rngs: nnx.Embed(1, 1, rngs=rngs), None),
    ],
)
def test_each_layer_has_its_form(layer, form):
    assert quantized_form(layer(nnx.Rngs(0))) is form


def test_a_quantized_layer_and_a_subclass_count_as_the_layer():
    class Mine(nnx.Linear):
        pass

    quantized = nn.QuantLinear(1, 1, w_bits=2, a_bits=2, rngs=nnx.Rngs(0))
    for layer in (Mine(1, 1, rngs=nnx.Rngs(0)), quantized):
        assert quantized_form(layer) is nn.QuantLinear
