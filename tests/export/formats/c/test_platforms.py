"""Generated C under other compilers, sanitizers and processors."""

import shutil

import pytest

from tests.export.formats.c.programs import check_program

ARM = "aarch64-linux-gnu-gcc"


@pytest.mark.slow
def test_gcc_warns_of_nothing_and_its_sanitizers_find_nothing(compiler, tmp_path):
    flags = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    assert check_program(tmp_path, ["gcc", *flags]) >= 1


@pytest.mark.slow
def test_clang_warns_of_nothing_and_its_sanitizer_finds_nothing(tmp_path):
    if shutil.which("clang") is None:
        pytest.skip("no clang")
    # Its sanitizers' libraries are a package of their own; a trap needs none.
    flags = ["-g", "-O1", "-fsanitize=undefined", "-fsanitize-trap=undefined"]
    assert check_program(tmp_path, ["clang", *flags]) >= 1


@pytest.mark.slow
def test_plain_c_needs_no_vector_instructions(compiler, tmp_path):
    assert check_program(tmp_path, ["gcc", "-O1", "-DN2UQ_PLAIN"]) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "kernels"), [("armv8-a", 2), ("armv8.2-a+dotprod", 3)])
def test_64_bit_arm_gives_the_same_integers(architecture, kernels, tmp_path):
    if shutil.which(ARM) is None or shutil.which("qemu-aarch64") is None:
        pytest.skip("no cross compiler for ARM, or no qemu-user")
    command = [ARM, "-O2", "-static", f"-march={architecture}"]
    for seed in range(3):
        folder = tmp_path / str(seed)
        folder.mkdir()
        seeds = (2 * seed, 2 * seed + 1)
        assert check_program(folder, command, ["qemu-aarch64"], seeds) == kernels
