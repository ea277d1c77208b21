import pytest

from n2uq_jax.export.formats.c.compile import CompilerError, shared_library
from n2uq_jax.export.formats.c.engine import NativeProgram
from n2uq_jax.export.formats.c.generate import generate
from n2uq_jax.export.formats.c.interpreter import interpret
from tests.export.formats.c.networks import Builder


@pytest.fixture
def small():
    build = Builder(0, (3, 3, 1), zero=False)
    return build, build.network(build.dense("image", 5))


def test_a_program_is_compiled_once(compiler, small, monkeypatch):
    source = generate(small[1])
    library = shared_library(source, flags=("-O0",))
    time = library.stat().st_mtime_ns
    assert shared_library(source, flags=("-O0",)) == library
    assert library.stat().st_mtime_ns == time
    assert shared_library(generate(small[1], "other"), "other", flags=("-O0",)) != library


def test_no_compiler_says_what_to_install(small, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler -O2")
    with pytest.raises(CompilerError, match=r"apt-get install gcc.*variable CC"):
        shared_library(generate(small[1]))


def test_what_the_compiler_says_is_passed_on(compiler, small):
    with pytest.raises(CompilerError, match="no-such-flag"):
        shared_library(generate(small[1]), flags=("-fno-such-flag",))


def test_a_callable_takes_bytes_of_its_shape(compiler, small):
    build, network = small
    library = shared_library(generate(network), flags=("-O0",))
    program = NativeProgram(library, (3, 3, 1), 5, threads=2)
    images = build.images(7)
    assert (program(images) == interpret(network, images)[network.output][:, 0, 0]).all()
    assert program(images[:0]).shape == (0, 5)
    with pytest.raises(TypeError, match=r"uint8, 0\.\.255, got float32"):
        program(images.astype("float32"))
    with pytest.raises(ValueError, match=r"\(batch, \*\(3, 3, 1\)\), got \(7, 3, 3\)"):
        program(images[..., 0])
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        NativeProgram(library, (3, 3, 1), 5, threads=0)
    with pytest.raises(ValueError, match=r"kernel must be one of .*reference.*got 'gpu'"):
        NativeProgram(library, (3, 3, 1), 5, kernel="gpu")
