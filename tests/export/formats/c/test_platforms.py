"""Generated C under other compilers, sanitizers and processors."""

import shutil
import subprocess

import pytest

from n2uq_jax.export.formats.c.generate import generate
from n2uq_jax.export.formats.c.interpreter import interpret
from tests.export.formats.c import devices
from tests.export.formats.c.float_networks import every_float_layer, exact_operations, network_of
from tests.export.formats.c.programs import STRICT, check_floats, check_program, every_layer
from tests.export.networks import images

S390X = "s390x-linux-gnu-gcc"
ARM = "aarch64-linux-gnu-gcc"
CORTEX = "arm-none-eabi-gcc"


def need(*commands):
    for command in commands:
        if shutil.which(command) is None:
            pytest.skip(f"no {command}")


def write_model(folder, batch):
    """Writes model.c and model.h; returns images and what the network makes of them."""
    build, output = every_layer(3)
    network = build.network(output)
    source = generate(network)
    (folder / "model.c").write_text(source.code)
    (folder / "model.h").write_text(source.header)
    images = build.images(batch)
    return images, interpret(network, images)[output][:, 0, 0]


@pytest.mark.slow
def test_gcc_warns_of_nothing_and_its_sanitizers_find_nothing(compiler, tmp_path):
    flags = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    assert check_program(tmp_path, ["gcc", *flags]) >= 1


@pytest.mark.slow
def test_clang_warns_of_nothing_and_its_sanitizer_finds_nothing(tmp_path):
    need("clang")
    # Its sanitizers' libraries are a package of their own; a trap needs none.
    flags = ["-g", "-O1", "-fsanitize=undefined", "-fsanitize-trap=undefined"]
    assert check_program(tmp_path, ["clang", *flags]) >= 1


@pytest.mark.slow
def test_plain_c_needs_no_vector_instructions(compiler, tmp_path):
    assert check_program(tmp_path, ["gcc", "-O1", "-DN2UQ_PLAIN"]) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "kernels"), [("armv8-a", 2), ("armv8.2-a+dotprod", 3)])
def test_64_bit_arm_gives_the_same_integers(architecture, kernels, tmp_path):
    need(ARM, "qemu-aarch64")
    command = [ARM, "-O2", "-static", f"-march={architecture}"]
    for seed in range(3):
        folder = tmp_path / str(seed)
        folder.mkdir()
        seeds = (2 * seed, 2 * seed + 1)
        assert check_program(folder, command, ["qemu-aarch64"], seeds) == kernels


SANITIZED = [
    *("-g", "-O1", "-fno-sanitize-recover=all"),
    "-fsanitize=address,undefined,float-cast-overflow",
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "emulator"),
    [
        (["gcc", *SANITIZED], []),
        (["gcc", "-O3", "-march=native"], []),
        (["gcc", "-O1", "-DN2UQ_PLAIN"], []),
        (["clang", "-O3", "-march=native"], []),
        ([ARM, "-O3", "-static"], ["qemu-aarch64"]),
    ],
    ids=["sanitized", "gcc", "plain", "clang", "arm"],
)
def test_floats_are_the_same_to_the_last_bit(compiler, command, emulator, tmp_path):
    need(*command[:1], *emulator)
    networks = {"layers": every_float_layer(1)[1], "operations": network_of(exact_operations)}
    for name, network in networks.items():
        folder = tmp_path / name
        folder.mkdir()
        check_floats(folder, network, images(2, network.image_shape), command, emulator)


@pytest.mark.slow
def test_a_big_endian_processor_gives_the_same_integers(tmp_path):
    need(S390X, "qemu-s390x")
    command = [S390X, "-O1", "-static"]
    assert check_program(tmp_path, command, ["qemu-s390x"], integer=">i4") == 1


@pytest.mark.slow
def test_a_cortex_m4_gives_the_same_integers(tmp_path):
    need(CORTEX, "qemu-system-arm")
    images, expected = write_model(tmp_path, 1)
    text = devices.CORTEX_M4.replace("@images@", ",".join(map(str, images.ravel())))
    text = text.replace("@expected@", ",".join(map(str, expected.ravel())))
    (tmp_path / "main.c").write_text(text)
    chip = [CORTEX, "-mcpu=cortex-m4", "-mthumb", "-Os"]
    subprocess.run([*chip, *STRICT, "-c", "model.c"], cwd=tmp_path, check=True)
    layout = [".vectors=0", ".init=0x8000", ".text=0x8100", ".data=0x20000000"]
    place = [f"-Wl,--section-start={section}" for section in layout]
    link = [*chip, "--specs=rdimon.specs", *place, "main.c", "model.o", "-o", "image.elf"]
    subprocess.run(link, cwd=tmp_path, check=True)
    board = ["qemu-system-arm", "-machine", "mps2-an386", "-nographic", "-semihosting"]
    result = subprocess.run(
        [*board, "-kernel", tmp_path / "image.elf"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "0 wrong" in result.stdout
