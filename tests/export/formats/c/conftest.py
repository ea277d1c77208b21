import shutil

import pytest

from tests.export.formats.c.networks import Builder


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Compiled programs of these tests are kept apart."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def small():
    """A network of one layer, with what built it."""
    build = Builder(0, (3, 3, 1), zero=False)
    return build, build.network(build.dense("image", 5))


@pytest.fixture
def compiler():
    """Needs a C compiler."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
