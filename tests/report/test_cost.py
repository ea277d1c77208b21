import itertools
import json
import math

import jax.numpy as jnp
import pytest
from flax import nnx

from n2uq_jax import models
from n2uq_jax.nn import QuantConv, QuantLinear
from n2uq_jax.report.cost import cost
from tests import golden


def abstract(name, bits=None):
    return nnx.eval_shape(lambda: models.create(name, w_bits=bits, a_bits=bits, rngs=nnx.Rngs(0)))


@pytest.mark.parametrize(
    ("name", "parameters", "giga_macs"),
    [
        # As torchvision prints them beside its weights.
        ("resnet18", 11_689_512, 1.81),
        ("resnet34", 21_797_672, 3.66),
        ("resnet50", 25_557_032, 4.09),
        pytest.param("resnet101", 44_549_160, 7.80, marks=pytest.mark.slow),
        pytest.param("mobilenet_v2", 3_504_872, 0.30, marks=pytest.mark.slow),
    ],
)
def test_torchvision_networks_cost_what_is_published(name, parameters, giga_macs):
    found = cost(abstract(f"torchvision/{name}"), (224, 224, 3))
    assert found.parameters == parameters
    assert round(found.macs / 1e9, 2) == giga_macs
    assert found.bit_operations == 32 * 32 * found.macs


@pytest.mark.parametrize(
    ("name", "bits", "macs"),
    [
        ("resnet18", 2, 1_814_073_344),
        pytest.param("resnet50", 3, 4_089_184_256, marks=pytest.mark.slow),
        # torchvision's and the first block's 32 to 32 channels on 112 x 112 pixels.
        pytest.param("mobilenet_v2", 4, 300_774_272 + 32 * 32 * 112 * 112, marks=pytest.mark.slow),
    ],
)
def test_quantized_networks_cost_what_the_authors_shapes_say(name, bits, macs):
    shapes = json.loads((golden.DATA / "state_dict_shapes.json").read_text())[name]
    found = cost(abstract(name, bits), (224, 224, 3))

    constants = ("running_mean", "running_var", "num_batches_tracked", *golden.CONSTANTS)
    trained = {
        key: [2**bits - 1] if key.endswith(".a") else shape
        for key, shape in shapes.items()
        if key.rpartition(".")[2] not in constants or key.endswith("18.quan1.clip_val")
    }
    assert found.parameters == sum(math.prod(shape) for shape in trained.values())
    kernels = [
        math.prod(shape)
        for key, shape in trained.items()
        if key.endswith(".weight") and len(shape) in (2, 4)
    ]
    assert sorted(layer.weights for layer in found.layers) == sorted(kernels)
    assert found.macs == macs

    first, *hidden, last = found.layers
    assert {(layer.w_bits, layer.a_bits) for layer in (first, last)} == {(32, 32)}
    assert {(layer.w_bits, layer.a_bits) for layer in hidden} == {(bits, bits)}


class Mixed(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.conv = QuantConv(4, 6, (3, 3), 2, w_bits=3, a_bits=2, padding=1, rngs=rngs)
        self.twice = QuantLinear(6, 6, w_bits=1, a_bits=4, signed=True, rngs=rngs)
        self.weights_only = QuantLinear(6, 5, w_bits=2, a_bits=None, rngs=rngs)

    def __call__(self, x):
        y = self.conv(x).reshape(x.shape[0], -1, 6)
        y = self.twice(self.twice(y))
        return self.weights_only(jnp.einsum("bij,bkj->bik", y, y) @ y)


def test_bit_widths_and_products_of_each_layer():
    found = cost(Mixed(), (7, 7, 4))
    assert [(c.path, c.macs, c.weights, c.w_bits, c.a_bits) for c in found.layers] == [
        ("conv", 4 * 4 * 6 * 9 * 4, 9 * 4 * 6, 3, 2),
        ("twice", 2 * 16 * 6 * 6, 36, 1, 4),
        ("", 16 * 16 * 6, 0, 32, 32),
        ("", 16 * 16 * 6, 0, 32, 32),
        ("weights_only", 16 * 6 * 5, 30, 2, 32),
    ]
    assert found.layers[0].output_shape == (4, 4, 6)
    assert found.bit_operations == sum(c.macs * c.w_bits * c.a_bits for c in found.layers)


def test_bytes_that_each_layer_reads():
    found = cost(Mixed(), (7, 7, 4))
    floats, codes = 4 * 16 * 6, 16 * 6
    assert [layer.input_bytes for layer in found.layers] == [
        7 * 7 * 4,
        2 * codes,
        2 * floats,
        4 * 16 * 16 + floats,
        floats,
    ]
    # Of what two layers read, or one layer twice, there is one tensor.
    assert found.activation_bytes == 7 * 7 * 4 + 2 * codes + 2 * floats + 4 * 16 * 16


@pytest.mark.parametrize(("integer_only", "pixel", "value"), [(False, 4, 4), (True, 1, 2)])
def test_bytes_between_the_layers_of_a_resnet(integer_only, pixel, value):
    """A stream is read by a quantizer and by a sum, and codes by one convolution each."""
    model = nnx.eval_shape(
        lambda: models.create(
            "resnet18", w_bits=2, a_bits=2, integer_only=integer_only, rngs=nnx.Rngs(0)
        )
    )
    found = cost(model, (64, 64, 3), jnp.uint8 if integer_only else jnp.float32)
    first, *hidden, last = found.layers
    assert first.input_bytes == pixel * 64 * 64 * 3
    assert last.input_bytes == (1 if integer_only else 4) * 512
    sizes = [16 * 16 * 64, 8 * 8 * 128, 4 * 4 * 256, 2 * 2 * 512]
    assert sum(layer.input_bytes for layer in hidden) == 4 * sizes[0] + sum(
        2 * before + 3 * size for before, size in itertools.pairwise(sizes)
    )
    streams = 32 * 32 * 64 + sizes[0] + 2 * sum(sizes)
    layers = sum(layer.input_bytes for layer in found.layers)
    assert found.activation_bytes == layers + value * streams


def test_counting_leaves_the_network_alone():
    model = Mixed()
    model.train()
    before = nnx.split(model)[0]
    cost(model, (7, 7, 4))
    assert nnx.split(model)[0] == before
