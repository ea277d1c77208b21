"""Generated C as WebAssembly, in Node.js."""

import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from n2uq_jax.export.formats.c.compile import CompilerError
from n2uq_jax.export.formats.c.generate import generate
from n2uq_jax.export.formats.c.interpreter import interpret
from n2uq_jax.export.formats.c.layers import Threshold
from n2uq_jax.export.formats.c.webassembly import SIMD, check_webassembly, to_webassembly
from tests.export.formats.c.networks import Builder, networks
from tests.export.formats.c.node import run_in_node
from tests.export.formats.c.programs import STRICT, every_layer

PLAIN = ("-O1", *STRICT)


@pytest.fixture
def node():
    """Needs clang, lld and Node.js."""
    for command in ("clang", "wasm-ld", "node"):
        if shutil.which(command) is None:
            pytest.skip(f"no {command}")


def check(build, network, flags):
    images = build.images(2)
    expected = interpret(network, images)
    kept = [layer.output for layer in network.layers if isinstance(layer, Threshold)]
    kept = [name for name in kept if build.found(name).low >= 0]
    sums, codes = run_in_node(network, kept, images, flags)
    for kernel, found in sums.items():
        np.testing.assert_array_equal(found, expected[network.output][:, 0, 0], err_msg=kernel)
    for name, found in zip(kept, codes, strict=True):
        np.testing.assert_array_equal(found, expected[name], err_msg=name)
    return set(sums) - {""}


@pytest.mark.extra
@pytest.mark.parametrize(
    ("flags", "kernels"),
    [((), {"reference"}), (SIMD, {"wasm_lookup", "wasm_dot", "reference"})],
    ids=["plain", "simd"],
)
def test_every_layer_gives_the_same_integers_and_leaves_its_codes(node, flags, kernels):
    build, output = every_layer(3)
    assert check(build, build.network(output), (*PLAIN, *flags)) == kernels


@pytest.mark.slow
@pytest.mark.extra
@settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],  # a failure is shown as it came, at once
)
@given(networks())
def test_random_networks_give_the_same_integers(node, drawn):
    check(*drawn, (*PLAIN, *SIMD))


@pytest.mark.parametrize("command", ["clang", "wasm-ld"])
def test_what_is_missing_is_named(monkeypatch, command):
    monkeypatch.setattr(shutil, "which", lambda name: None if name == command else name)
    with pytest.raises(CompilerError, match=rf"no {command}: install.*apt-get install clang lld"):
        check_webassembly()


@pytest.mark.extra
def test_what_the_compiler_says_is_passed_on(node):
    build = Builder(0, (3, 3, 1), zero=False)
    with pytest.raises(CompilerError, match="no-such-flag"):
        to_webassembly(generate(build.network(build.dense("image", 5))), flags=("-fno-such-flag",))
    check_webassembly()
