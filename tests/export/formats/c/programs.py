"""Generated networks in a program of their own, as a user of the C files has them."""

import subprocess
from pathlib import Path

import numpy as np

from n2uq_jax.export.formats.c.generate import generate
from n2uq_jax.export.formats.c.interpreter import interpret
from tests.export.formats.c.networks import CLASSES, Builder

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")

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


def check_program(
    folder: Path, compiler: list[str], emulator: list[str] = (), seeds=(1, 2), integer="<i4"
):
    """Compiles two networks into one program, runs it, and compares it with the interpreter.

    Args:
      folder: for the files.
      compiler: command and flags.
      emulator: command that runs the program.
      seeds: of the two networks.
      integer: as the processor writes it.

    Returns:
      How many kernels the first network ran on.
    """
    (build, output), (other, other_output) = (every_layer(seed) for seed in seeds)
    first, second = build.network(output), other.network(other_output)
    for name, network in (("first", first), ("second", second)):
        source = generate(network, name)
        (folder / f"{name}.c").write_text(source.code)
        (folder / f"{name}.h").write_text(source.header)
    (folder / "main.c").write_text(MAIN)
    files = ["main.c", "first.c", "second.c"]
    subprocess.run([*compiler, *STRICT, *files, "-o", "program"], cwd=folder, check=True)
    images = build.images(2)
    result = subprocess.run(
        [*emulator, folder / "program", "2"],
        input=images.tobytes(),
        capture_output=True,
        check=True,
    )
    runs = np.frombuffer(result.stdout, integer).reshape(-1, 2, CLASSES)
    expected = interpret(first, images)[output][:, 0, 0]
    for run in runs[:-1]:
        np.testing.assert_array_equal(run, expected)
    np.testing.assert_array_equal(runs[-1], interpret(second, images)[other_output][:, 0, 0])
    return len(runs) - 1


FLOAT_MAIN = """
#include "model.h"
#include <stdio.h>
#include <stdlib.h>

/* Reads two images from the standard input, and writes their logits with each kernel. */
int main(void) {
  static model_input images[2 * MODEL_HEIGHT * MODEL_WIDTH * MODEL_CHANNELS];
  model_output logits[2 * MODEL_CLASSES];
  void *workspace = malloc(model_workspace_size(2));
  if (fread(images, sizeof images, 1, stdin) != 1) return 3;
  for (size_t i = 0; model_kernel_name(i); i++) {
    model_options options = {.threads = 1, .kernel = model_kernel_name(i)};
    if (model_run_with(&options, images, 2, logits, workspace)) return 4;
    fwrite(logits, sizeof logits, 1, stdout);
  }
  free(workspace);
  return 0;
}
"""


def check_floats(folder: Path, network, images: np.ndarray, compiler: list[str], emulator=()):
    """Compiles a network of floats, runs it, and compares it with the interpreter to the last bit.

    Args:
      folder: for the files.
      network: takes and gives floats.
      images: two.
      compiler: command and flags.
      emulator: command that runs the program.
    """
    source = generate(network)
    for name, text in (("c", source.code), ("h", source.header)):
        (folder / f"model.{name}").write_text(text)
    (folder / "main.c").write_text(FLOAT_MAIN)
    command = [*compiler, *STRICT, "-ffp-contract=off", "main.c", "model.c", "-o", "program", "-lm"]
    subprocess.run(command, cwd=folder, check=True)
    result = subprocess.run(
        [*emulator, folder / "program"], input=images.tobytes(), capture_output=True, check=True
    )
    expected = interpret(network, images)[network.output][:, 0, 0]
    runs = np.frombuffer(result.stdout, np.float32).reshape(-1, *expected.shape)
    assert len(runs) >= 1
    for run in runs:
        np.testing.assert_array_equal(run, expected)
