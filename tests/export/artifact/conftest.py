"""The artifact of the small network, and a copy to damage."""

import pytest


@pytest.fixture
def directory(exported):
    return exported[0].directory


@pytest.fixture
def copy(directory, tmp_path):
    for file in directory.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path
