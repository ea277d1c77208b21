import pytest

from tests.data import tiny_imagenet


@pytest.fixture(scope="session")
def imagenet_dir(tmp_path_factory):
    """A data_dir that the real TFDS builder prepared from tiny tars."""
    return tiny_imagenet.prepare(tmp_path_factory.mktemp("imagenet"))
