"""Compiled programs outlive a command: the next one starts where they are."""

import os
import warnings
from pathlib import Path

import jax

LEAST_SECONDS = 0.3
"""Programs that compile faster are not kept."""


def default_folder() -> Path:
    """Returns where compiled programs are kept unless ``JAX_COMPILATION_CACHE_DIR`` is set."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "n2uq_jax" / "compiled"


def keep_compiled() -> None:
    """Turns JAX's persistent compilation cache on, unless the environment decides.

    ``JAX_COMPILATION_CACHE_DIR`` names another folder, ``JAX_ENABLE_COMPILATION_CACHE=0`` turns it
    off. The folder can be deleted at any time. Where it cannot be written there is no cache.
    """
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    try:
        folder = default_folder()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: no home folder
        return
    if not os.access(folder, os.W_OK):
        return
    # Another process may be writing the program that this one looks for: it compiles it itself.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)
