"""Room on the disk: looked for before a write, so that nothing is left half written."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

SPARE = 2**20
"""Bytes that stay free, for what is written beside and for the files' own overhead."""


def check_room(folder: Path, needed: int) -> None:
    """Raises unless a folder's file system has room.

    Args:
      folder: which exists.
      needed: bytes.

    Raises:
      OSError: with ``errno.ENOSPC`` and the folder.
    """
    if shutil.disk_usage(folder).free < needed + SPARE:
        raise no_room(folder)


def no_room(path: Path) -> OSError:
    """Returns the error of a full disk.

    Args:
      path: what could not be written.
    """
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Gives an error that writing raises the name of what was written.

    Libraries and files that are open already tell of a full disk without a path, or in a text of
    many lines.

    Args:
      path: the file or folder.

    Yields:
      Nothing.

    Raises:
      OSError: in place of another error that speaks of a full disk, or has no path.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        if _is_full(error):
            raise no_room(path) from error
        if isinstance(error, OSError) and error.errno and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def _is_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if os.strerror(errno.ENOSPC) in str(error) or os.strerror(errno.EDQUOT) in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
