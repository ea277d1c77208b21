"""A small network, its integer program and its artifact, made once."""

import shutil

import pytest

from n2uq_jax.export import export_model
from tests.export.networks import built, images


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Programs that these tests compile are kept apart."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def compiler():
    """Needs a C compiler."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")


@pytest.fixture(scope="session")
def model():
    return built("resnet8")[0]


@pytest.fixture(scope="session")
def program():
    return built("resnet8")[1]


@pytest.fixture(scope="session")
def exported(model, tmp_path_factory):
    """An artifact, with what its export told of its progress."""
    steps = []
    result = export_model(
        model,
        tmp_path_factory.mktemp("export") / "artifact",
        image_shape=(8, 8, 1),
        images=images(70),
        class_names=[f"digit {i}" for i in range(10)],
        progress=lambda *step: steps.append(step),
    )
    return result, steps
