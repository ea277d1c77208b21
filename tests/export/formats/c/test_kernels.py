"""Every kernel that runs here, and those that run nowhere but by emulation, on random networks."""

import pathlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from n2uq_jax.export.formats.c.engine import NativeProgram
from n2uq_jax.export.formats.c.generate import generate
from n2uq_jax.export.formats.c.interpreter import interpret
from tests.export.formats.c.networks import networks

CHECKED = (
    "-O0",
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Wconversion",
    "-Werror",
    # With a trap instead of a library, the sanitizer works in any process that loads the program.
    "-fsanitize=undefined",
    "-fsanitize-undefined-trap-on-error",
)
EMULATED = ("-O0", "-DN2UQ_EMULATED", "-DSIMDE_NO_NATIVE", "-Wno-psabi")

random_networks = given(networks())
few = settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
many = settings(few, max_examples=15)


def check(build, network, flags):
    images = build.images(3)
    expected = interpret(network, images)[network.output][:, 0, 0]
    source = generate(network)
    kernels = NativeProgram(source, flags=flags).kernels
    for kernel in kernels:
        program = NativeProgram(source, kernel=kernel, flags=flags)
        np.testing.assert_array_equal(program(images), expected, err_msg=kernel)
    return kernels


@few
@random_networks
def test_kernels_give_the_integers_of_the_interpreter(compiler, drawn):
    assert "reference" in check(*drawn, CHECKED)


@pytest.mark.slow
@many
@random_networks
def test_kernels_give_the_integers_of_the_interpreter_for_many_networks(compiler, drawn):
    check(*drawn, CHECKED)


@pytest.mark.slow
@many
@random_networks
def test_emulated_kernels_give_the_integers_of_the_interpreter(compiler, drawn):
    if not pathlib.Path("/usr/include/simde").exists():
        pytest.skip("no SIMDe: apt-get install libsimde-dev")
    kernels = check(*drawn, EMULATED)
    assert {"avx512_lookup", "avx512_bytes", "avx2_lookup", "avx2_bytes"} <= set(kernels)
