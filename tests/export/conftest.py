"""A small network, its integer program and its artifact, made once."""

import pytest

from n2uq_jax.export import export_model
from tests.export.networks import built, images


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
