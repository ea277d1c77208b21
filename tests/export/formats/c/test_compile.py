import pytest

from n2uq_jax.export.formats.c.compile import CompilerError, shared_library
from n2uq_jax.export.formats.c.generate import generate


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
