"""Compiling generated C with the system's compiler, once for each program."""

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from n2uq_jax.export.formats.c.generate import Source

FLAGS = ("-std=c99", "-O3", "-ffp-contract=off", "-fPIC", "-shared", "-fvisibility=default")


class CompilerError(RuntimeError):
    """There is no C compiler, or it refuses the program."""


def compiler() -> list[str]:
    """Returns the command of the C compiler: the variable CC, else ``cc``.

    Raises:
      CompilerError: if there is none.
    """
    command = shlex.split(os.environ.get("CC", "")) or ["cc"]
    if shutil.which(command[0]) is None:
        raise CompilerError(
            f"there is no C compiler {command[0]!r} to compile the network with: install gcc or "
            "clang (Debian, Ubuntu: apt-get install gcc), or name yours in the environment "
            "variable CC."
        )
    return command


def cache_directory() -> Path:
    """Returns where compiled programs are kept: ``$XDG_CACHE_HOME/n2uq_jax``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "n2uq_jax"


def shared_library(source: Source, prefix: str = "model", flags: tuple[str, ...] = ()) -> Path:
    """Compiles a program as a shared library, unless that was done before.

    Args:
      source: its text.
      prefix: as it was generated with.
      flags: more of the compiler's.

    Returns:
      The library's path, in :func:`cache_directory`.

    Raises:
      CompilerError: if there is no compiler, or it refuses.
    """
    command = compiler()
    with_openmp = [*command, *FLAGS, *flags, "-fopenmp"]
    without = [*command, *FLAGS, *flags]
    text = "\0".join([source.code, source.header, platform.machine(), *with_openmp])
    digest = hashlib.sha256(text.encode()).hexdigest()[:32]
    library = cache_directory() / f"{prefix}-{digest}.so"
    if library.exists():
        return library
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        code = Path(folder) / f"{prefix}.c"
        code.write_text(source.code)
        (Path(folder) / f"{prefix}.h").write_text(source.header)
        built = Path(folder) / library.name
        # A compiler may come without its OpenMP library: then one thread computes.
        for attempt in (with_openmp, without):
            result = subprocess.run(
                [*attempt, "-o", str(built), str(code), "-lm"],
                capture_output=True,
                text=True,
                check=False,
            )
            if result.returncode == 0:
                break
        else:
            raise CompilerError(f"{shlex.join(without)} refuses the network:\n{result.stderr}")
        # Another process may have been as fast: one of the two equal files stays.
        os.replace(built, library)
    return library
