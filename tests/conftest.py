"""Strict defaults for every test: no silent rank promotion, no warnings, eight devices."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def x64():
    """Runs a test in double precision."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def imagenet_dir(tmp_path_factory):
    """A data_dir that the real TFDS builder prepared from tiny tars."""
    from tests.data import tiny_imagenet

    return tiny_imagenet.prepare(tmp_path_factory.mktemp("imagenet"))
