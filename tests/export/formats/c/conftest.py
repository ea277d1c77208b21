import pytest

from tests.export.formats.c.networks import Builder


@pytest.fixture
def small():
    """A network of one layer, with what built it."""
    build = Builder(0, (3, 3, 1), zero=False)
    return build, build.network(build.dense("image", 5))
