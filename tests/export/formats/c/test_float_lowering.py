"""Networks of the paper's form in C, against the meaning of their layers and against XLA."""

import jax.numpy as jnp
import numpy as np
import pytest

from n2uq_jax.export.formats.c.engine import NativeProgram
from n2uq_jax.export.formats.c.generate import generate
from n2uq_jax.export.formats.c.interpreter import interpret
from n2uq_jax.export.formats.c.layers import Conv, Threshold
from n2uq_jax.export.formats.c.lowering import lower
from tests.export.formats.c import float_networks
from tests.export.networks import NETWORKS, built, images

FAST = ("-O0",)
LARGEST_DIFFERENCE = 2e-6
"""Of logits from XLA's, as a share of the largest logit: some roundings of float32."""


def programs(source):
    kernels = NativeProgram(source, flags=FAST).kernels
    return [NativeProgram(source, kernel=kernel, flags=FAST) for kernel in kernels]


@pytest.mark.parametrize("name", ["resnet8", pytest.param("inverted", marks=pytest.mark.slow)])
def test_a_network_of_the_papers_form_is_computed_as_its_layers_say(compiler, name):
    _, program = built(name)
    network = lower(program)
    assert set(network.codes) == set(program.folded) | set(program.unfolded)
    sums = {
        name: next(x.input for x in network.layers if x.output == tensor)
        for name, tensor in network.codes.items()
        if name in program.folded
    }
    kept = {*network.codes.values(), *sums.values()}
    source = generate(network, kept=kept)
    batch = images(3, NETWORKS[name][1])
    found = interpret(network, batch)
    expected = found[network.output][:, 0, 0]
    for native in programs(source):
        np.testing.assert_array_equal(native(batch), expected)
    logits, xla = native(batch), np.asarray(program(batch))
    assert logits.dtype == np.float32
    assert np.abs(logits - xla).max() <= LARGEST_DIFFERENCE * np.abs(xla).max()
    tensors = native.tensors(batch[0])
    for tensor in kept:
        np.testing.assert_array_equal(tensors[tensor], found[tensor][0])
    # Of the same sums, a folded layer's codes are the program's to the last one.
    for name, tensor in sums.items():
        codes = program.thresholds[name](jnp.asarray(tensors[tensor]))
        np.testing.assert_array_equal(tensors[network.codes[name]], np.asarray(codes))


def test_integers_stay_in_integer_kernels():
    _, program = built("resnet8")
    layers = lower(program).layers
    assert sum(isinstance(layer, Conv) for layer in layers) == len(program.network(1).products)
    assert sum(isinstance(layer, Threshold) for layer in layers) == len(program.folded)


def test_every_exact_operation_is_that_of_ieee_754(compiler):
    network = float_networks.network_of(float_networks.exact_operations)
    batch = images(3, float_networks.SHAPE)
    batch[1, 2, 3, :3] = [np.nan, np.inf, -np.inf]
    expected = interpret(network, batch)[network.output][:, 0, 0]
    assert np.isfinite(expected[[0, 2]]).all()
    assert np.isnan(expected[1]).all()
    for native in programs(generate(network)):
        np.testing.assert_array_equal(native(batch), expected)


def test_other_operations_are_the_standard_librarys(compiler):
    network = float_networks.network_of(float_networks.library_operations)
    batch = images(3, float_networks.SHAPE)
    source = generate(network)
    assert "#include <math.h>" in source.code
    expected = interpret(network, batch)[network.output][:, 0, 0]
    result = NativeProgram(source, flags=FAST)(batch)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


def test_plain_arithmetic_needs_no_library_of_functions():
    _, program = built("resnet8")
    assert "#include <math.h>" not in generate(lower(program)).code


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x, _: jnp.flip(x, 1), "no layer for the float operation rev"),
        (lambda x, _: jnp.cumsum(x, 1), "no layer for the float operation cumsum"),
        (lambda x, _: x * x.mean((1, 2), keepdims=True), "no layer for the float operation"),
        (lambda x, _: x**3, "does not know the float operation integer_pow"),
    ],
)
def test_what_no_layer_computes_is_refused(function, message):
    with pytest.raises(ValueError, match=message):
        generate(float_networks.network_of(function))
