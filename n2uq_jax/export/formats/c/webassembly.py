"""Compiling generated C to WebAssembly, for browsers and for Node.js."""

import re
import shutil
import subprocess
import tempfile
from importlib import resources
from pathlib import Path

from n2uq_jax.export.formats.c.compile import CompilerError
from n2uq_jax.export.formats.c.generate import Source

FLAGS = (
    *("--target=wasm32", "-nostdlib", "-std=c99", "-O3", "-I."),
    *("-mbulk-memory", "-Wl,--no-entry", "-Wl,--strip-all"),
)
SIMD = ("-msimd128",)
"""Vectors of 16 bytes, which browsers have since 2021 and Safari since 16.4 (2023)."""


def to_webassembly(source: Source, prefix: str = "model", flags: tuple[str, ...] = SIMD) -> bytes:
    """Compiles a program to a WebAssembly module.

    The module imports nothing. It exports ``memory``, the functions of the header, and
    ``__heap_base``, the first byte that is the caller's: images, logits and workspace go there,
    after ``memory`` has grown as far.

    Args:
      source: the program's text.
      prefix: as it was generated with.
      flags: more of the compiler's.

    Returns:
      The module.

    Raises:
      CompilerError: if there is no clang that compiles to WebAssembly, or it refuses.
    """
    functions = re.findall(rf"^\w.*\b({prefix}_\w+)\(", source.header, re.MULTILINE)
    exports = tuple(f"-Wl,--export={name}" for name in (*functions, "__heap_base"))
    files = {f"{prefix}.c": source.code, f"{prefix}.h": source.header}
    for name in ("string.c", "string.h"):
        file = resources.files("n2uq_jax.export.formats.c") / "freestanding" / name
        files[name] = file.read_text()
    return _built(files, (*flags, *exports))


def check_webassembly() -> None:
    """Raises an error unless this machine can compile C to WebAssembly.

    Raises:
      CompilerError: if it cannot; says what to install.
    """
    for command in ("clang", "wasm-ld"):
        if shutil.which(command) is None:
            raise CompilerError(_missing(f"there is no {command}"))
    try:
        _built({"nothing.c": "int nothing;"}, ())
    except CompilerError as error:
        raise CompilerError(_missing("this clang cannot")) from error


def _missing(why: str) -> str:
    return (
        f"the format html compiles the network to WebAssembly, and {why}: install LLVM's clang and "
        "lld (Debian, Ubuntu: apt-get install clang lld; macOS: brew install llvm lld)."
    )


def _built(files: dict[str, str], flags: tuple[str, ...]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            (Path(folder) / name).write_text(text)
        sources = [name for name in files if name.endswith(".c")]
        command = ["clang", *FLAGS, *flags, *sources, "-o", "module.wasm"]
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if result.returncode:
            raise CompilerError(f"{' '.join(command)} refuses the network:\n{result.stderr}")
        return (Path(folder) / "module.wasm").read_bytes()
