import shutil

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Compiled programs of these tests are kept apart."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def compiler():
    """Needs a C compiler."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
