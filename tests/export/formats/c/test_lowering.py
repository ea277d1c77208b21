"""Integer-only programs in C, against the programs themselves."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import n2uq_jax as n2uq
from n2uq_jax.export import build_program
from n2uq_jax.export.formats.c.engine import NativeProgram
from n2uq_jax.export.formats.c.generate import generate
from n2uq_jax.export.formats.c.interpreter import interpret
from n2uq_jax.export.formats.c.lowering import lower
from tests.export import integer_network


@pytest.fixture(scope="module")
def program():
    model = (integer_network.network, integer_network.parameters())
    return build_program(model, integer_network.SHAPE, image_dtype=np.uint8)


def test_a_hand_written_network_keeps_its_integers(compiler, program):
    images = integer_network.pixels(9)
    network = lower(program)
    expected = np.asarray(program(images))
    sums = interpret(network, images)[network.output][:, 0, 0]
    np.testing.assert_array_equal(sums.astype(np.float32) * np.float32(network.scale), expected)
    source = generate(network)
    for kernel in NativeProgram(source, flags=("-O0",)).kernels:
        native = NativeProgram(source, kernel=kernel, flags=("-O0",))
        np.testing.assert_array_equal(native.logits(images), expected, err_msg=kernel)


def test_the_zero_of_pixels_is_the_products(program):
    network = lower(program)
    assert network.zero.tolist() == [120, 120, 120]
    assert network.layers[0].input == "image"


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: jnp.flip(x, 1), "no layer for the operation rev"),
        (lambda x: x * x, "no layer for the operation mul"),
        (
            lambda x: jnp.clip(x, jnp.arange(3).reshape(1, 1, 1, 3), 99),
            "all channels by the same integers",
        ),
    ],
)
def test_what_no_layer_computes_is_refused(function, message):
    def network(p, images):
        x = function(images.astype(jnp.int32) - 3)
        return (x.reshape(len(x), -1) @ p["weight"]).astype(jnp.float32) * jnp.float32(0.5)

    parameters = {"weight": np.ones((27, 2), np.int32)}
    program = build_program((network, parameters), (3, 3, 3), image_dtype=np.uint8)
    with pytest.raises(ValueError, match=message):
        lower(program)


@pytest.mark.slow
@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_a_residual_network_keeps_its_integers(compiler, bits):
    model = n2uq.models.create(
        "resnet8", w_bits=bits, a_bits=bits, integer_only=True, num_classes=10, rngs=nnx.Rngs(0)
    )
    model.eval()
    program = build_program(model, (12, 12, 3), image_dtype=np.uint8)
    images = np.random.default_rng(0).integers(0, 256, (4, 12, 12, 3)).astype(np.uint8)
    expected = np.asarray(program(images))
    source = generate(lower(program))
    for kernel in NativeProgram(source, flags=("-O0",)).kernels:
        native = NativeProgram(source, kernel=kernel, flags=("-O0",))
        np.testing.assert_array_equal(native.logits(images), expected, err_msg=kernel)
