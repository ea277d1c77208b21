import re
import shutil
import subprocess

import numpy as np
import pytest

from n2uq_jax.export.formats.c.generate import generate
from n2uq_jax.export.formats.c.interpreter import interpret
from tests.export.formats.c.networks import CLASSES, Builder

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")
SANITIZERS = {
    "gcc": ("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    # Its sanitizers' libraries are a package of their own; a trap needs none.
    "clang": ("-fsanitize=undefined", "-fsanitize-trap=undefined"),
}

MAIN = """
#include "first.h"
#include "second.h"
#include <stdio.h>
#include <stdlib.h>

/* Reads images from the standard input, and writes what both networks make of them. */
int main(int count, char **arguments) {
  size_t batch = (size_t)atoi(arguments[1]), size = FIRST_HEIGHT * FIRST_WIDTH * FIRST_CHANNELS;
  (void)count;
  first_input *images = malloc(batch * size);
  first_output *logits = malloc(batch * FIRST_CLASSES * sizeof(first_output));
  void *workspace = malloc(first_workspace_size(batch) + 1);
  void *other = malloc(second_workspace_size(batch));
  if (fread(images, size, batch, stdin) != batch) return 3;
  for (size_t i = 0; first_kernel_name(i); i++) {
    first_options options = {.threads = 1, .kernel = first_kernel_name(i)};
    /* A workspace needs no alignment. */
    if (first_run_with(&options, images, batch, logits, (char *)workspace + 1)) return 4;
    fwrite(logits, sizeof(first_output), batch * FIRST_CLASSES, stdout);
  }
  if (second_run(images, batch, logits, other)) return 5;
  fwrite(logits, sizeof(first_output), batch * FIRST_CLASSES, stdout);
  free(images), free(logits), free(workspace), free(other);
  return 0;
}
"""


def every_layer(seed: int) -> tuple[Builder, str]:
    """A network with every kind of layer, and products for every kernel."""
    build = Builder(seed, (9, 7, 3), zero=True)
    same = ((1, 1), (1, 1))
    x = build.conv("image", 20, (3, 3), bits=8, odd=False, bias=True, padding=same)
    stream = build.rescale(x)
    x = build.conv(build.thresholds(stream, 3), 20, (3, 3), padding=same)
    x = build.conv(build.thresholds(x, 3, "both"), 20, (3, 3), bits=1, padding=same)
    stream = build.prelu(build.sum(build.rescale(x), stream))
    x = build.conv(build.thresholds(stream, 15, "falling"), 20, (3, 2), bits=4, groups=20)
    x = build.conv(build.thresholds(x, 7), 33, (2, 2), bits=3, odd=False, stride=(2, 1))
    x = build.pool(build.pool(x, "max", (2, 2), padding=((1, 0), (0, 1))), "sum", (2, 2))
    return build, build.dense(build.rescale(x, -127, 127), CLASSES)


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_a_program_has_no_warnings_and_the_sanitizers_find_nothing(compiler, tmp_path):
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler}")
    (build, output), (other, other_output) = every_layer(1), every_layer(2)
    first, second = build.network(output), other.network(other_output)
    for name, network in (("first", first), ("second", second)):
        source = generate(network, name)
        (tmp_path / f"{name}.c").write_text(source.code)
        (tmp_path / f"{name}.h").write_text(source.header)
    (tmp_path / "main.c").write_text(MAIN)
    flags = [*STRICT, "-g", "-O1", *SANITIZERS[compiler]]
    files = ["main.c", "first.c", "second.c"]
    subprocess.run([compiler, *flags, *files, "-o", "program"], cwd=tmp_path, check=True)
    images = build.images(2)
    result = subprocess.run(
        [tmp_path / "program", "2"], input=images.tobytes(), capture_output=True, check=True
    )
    runs = np.frombuffer(result.stdout, np.int32).reshape(-1, 2, CLASSES)
    expected = interpret(first, images)[output][:, 0, 0]
    assert len(runs) >= 2
    for run in runs[:-1]:
        np.testing.assert_array_equal(run, expected)
    np.testing.assert_array_equal(runs[-1], interpret(second, images)[other_output][:, 0, 0])


def test_the_header_says_shapes_and_scale():
    build, output = every_layer(0)
    network = build.network(output)
    header = generate(network, "digits").header
    for line in ("DIGITS_HEIGHT 9", "DIGITS_WIDTH 7", "DIGITS_CHANNELS 3", "DIGITS_CLASSES 17"):
        assert f"#define {line}\n" in header
    assert "int digits_run(const digits_input *images" in header
    assert float.fromhex("0x1.0000000000000p+0") == network.scale
    assert "#define DIGITS_SCALE 0x1.0000000000000p+0f" in header


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_weights_take_their_bit_width(bits):
    build = Builder(0, (3, 3, 1), zero=False)
    x = build.thresholds(build.conv("image", 16, (1, 1)), 3)
    network = build.network(build.conv(x, 16, (3, 3), bits=bits))
    arrays = re.findall(r"uint64_t weights_\d+\[\] = \{(.*?)\}", generate(network).code, re.DOTALL)
    # Inputs, taps and outputs are multiples of what a block holds, so that nothing is filled up.
    assert arrays[-1].count("0x") == 16 * 9 * 16 * bits // 64


@pytest.mark.parametrize("prefix", ["", "2bits", "a-b", "a b"])
def test_a_prefix_is_an_identifier(prefix):
    build, output = every_layer(0)
    with pytest.raises(ValueError, match="prefix must be a C identifier"):
        generate(build.network(output), prefix)


def test_only_products_read_images_whose_zero_is_not_0():
    build = Builder(0, (4, 4, 2), zero=True)
    network = build.network(build.pool("image", "max", (2, 2)))
    with pytest.raises(ValueError, match="only products subtract"):
        generate(network)
