import errno
import shutil

import pytest

from n2uq_jax.workdir.room import SPARE, check_room, naming


def leave(monkeypatch, free):
    usage = shutil.disk_usage("/")._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)


def test_room_is_what_is_needed_and_some_to_spare(tmp_path, monkeypatch):
    leave(monkeypatch, SPARE + 10)
    check_room(tmp_path, 10)
    with pytest.raises(OSError, match="No space left on device") as full:
        check_room(tmp_path, 11)
    assert (full.value.errno, full.value.filename) == (errno.ENOSPC, str(tmp_path))


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        ValueError("RESOURCE_EXHAUSTED: ...\n... No space left on device [os_error_code='28']"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
    ],
)
def test_whatever_speaks_of_a_full_disk_becomes_one_error_with_the_path(tmp_path, error):
    with pytest.raises(OSError, match="No space left") as full, naming(tmp_path):
        raise RuntimeError("in a thread") from error
    assert full.value.filename == str(tmp_path)


def test_other_errors_stay_and_get_a_path_if_they_have_none(tmp_path):
    with pytest.raises(OSError, match="Input/output") as failed, naming(tmp_path):
        raise OSError(errno.EIO, "Input/output error")
    assert failed.value.filename == str(tmp_path)
    with pytest.raises(FileNotFoundError) as failed, naming(tmp_path):
        (tmp_path / "x").read_text()
    assert failed.value.filename == str(tmp_path / "x")
    with pytest.raises(KeyError), naming(tmp_path):
        raise KeyError
