"""Config files: Python files with a ``get_config()``, found by path or by name."""

import runpy
from pathlib import Path

from ml_collections import ConfigDict

from n2uq_jax.spelling import similar


def find_config(name: str) -> Path:
    """Finds a config file by path or by name.

    Args:
      name: a path such as ``configs/digits_w2a2.py``, or a name such as ``digits_w2a2``.

    Returns:
      The file.

    Raises:
      FileNotFoundError: if there is none; the message lists the names that exist.
    """
    path = Path(name)
    if path.is_file():
        return path
    for folder in _folders():
        candidate = folder / f"{path.stem}.py"
        if path.name == str(path) and candidate.is_file():
            return candidate
    raise FileNotFoundError(
        f"config must be a file or one of {', '.join(config_names())}; got {name!r}, "
        f"and {path.absolute()} does not exist{similar(name, config_names()) or '.'}"
    )


def config_names() -> list[str]:
    """Returns the names of the configs that are installed."""
    return sorted({path.stem for folder in _folders() for path in folder.glob("[a-z]*.py")})


def _folders() -> list[Path]:
    package = Path(__file__).resolve().parents[1]
    # An installed package carries the configs inside; a clone has them beside it.
    return [package / "configs", package.parent / "configs"]


def load_config(name: str) -> ConfigDict:
    """Loads a config file and returns what its ``get_config()`` returns.

    Args:
      name: as for :func:`find_config`.

    Returns:
      The configuration.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if the file has no ``get_config``.
    """
    path = find_config(name)
    names = runpy.run_path(str(path))
    if "get_config" not in names:
        raise ValueError(f"{path} has no get_config(), which returns the configuration.")
    return names["get_config"]()
