"""Strict defaults for every test: no silent rank promotion, no warnings, eight devices."""

import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests compile the same small networks again and again; workers and processes share the results.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "compiled")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
# A test runs a program once or twice: LLVM's optimizations would take longer than they save.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import jax
import pytest

LONGEST_FIRST = (
    "training/test_imagenet.py",
    "training/test_processes.py",
    "training/test_run.py",
    "launch/test_notebooks.py",
    "docs/test_readme.py",
)
"""A worker takes a file at a time, so that a long one at the end would keep it alone."""

pytest_plugins = ["tests.skips", "pytester"]

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_collection_modifyitems(items):
    """Starts with the longest files."""
    order = {name: i for i, name in enumerate(LONGEST_FIRST)}
    folder = Path(__file__).parent
    items.sort(key=lambda item: order.get(item.path.relative_to(folder).as_posix(), len(order)))


@pytest.fixture
def x64():
    """Runs a test in double precision."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def optimized():
    """Compiles a test's programs as a user's are, with all of XLA's optimizations."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="session")
def imagenet_dir(tmp_path_factory):
    """A data_dir that the real TFDS builder prepared from tiny tars."""
    pytest.importorskip("tensorflow", reason="the extra prepare is not installed")
    from tests.data import tiny_imagenet

    return tiny_imagenet.prepare(tmp_path_factory.mktemp("imagenet"))
