"""An artifact's folder: read as a whole and checked, written as a whole or not at all."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from n2uq_jax.export.artifact.manifest import (
    MANIFEST,
    ArtifactError,
    digest,
    make_manifest,
    read_manifest,
)


def read_artifact(directory: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Reads every file of an artifact, once, and checks it against the manifest.

    Args:
      directory: the artifact.

    Returns:
      The manifest, and the contents by name: the very bytes that were checked.

    Raises:
      FileNotFoundError: if there is no manifest.
      ArtifactError: if a file is missing, truncated or changed, or the artifact comes from a newer
        version.
    """
    manifest = read_manifest(directory)
    contents = {}
    for name, expected in manifest["files"].items():
        file = directory / name
        if not file.is_file():
            raise ArtifactError(f"artifact {directory} lacks its file {name}.")
        size = file.stat().st_size
        if size != expected["bytes"]:
            raise ArtifactError(
                f"{file} has {size} bytes instead of {expected['bytes']}: it is truncated, or was "
                "changed."
            )
        contents[name] = file.read_bytes()
        if digest(contents[name]) != expected["sha256"]:
            raise ArtifactError(f"{file} was changed: its sha256 is not that of the manifest.")
    return manifest, contents


def write_artifact(
    directory: Path, files: Mapping[str, bytes], about: Mapping[str, Any], *, overwrite: bool
) -> None:
    """Writes an artifact: all of it, or nothing.

    Args:
      directory: where to; its parent is created.
      files: contents by name, without the manifest.
      about: JSON-able, for the manifest; digests and the format version are added.
      overwrite: replace an artifact that is there.

    Raises:
      FileExistsError: if ``directory`` exists and is not empty, and is no artifact to overwrite.
    """
    check_target(directory, overwrite)
    manifest = make_manifest(files, about)
    directory.parent.mkdir(parents=True, exist_ok=True)
    unfinished = directory.parent / f".{directory.name}.{os.getpid()}.unfinished"
    replaced = directory.parent / f".{directory.name}.{os.getpid()}.replaced"
    try:
        unfinished.mkdir()
        for name, content in files.items():
            _write(unfinished / name, content)
        _write(unfinished / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
        if directory.exists():
            directory.rename(replaced)
        unfinished.rename(directory)
    finally:
        if replaced.exists() and not directory.exists():
            replaced.rename(directory)
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def check_target(directory: Path, overwrite: bool) -> None:
    """Raises FileExistsError if an artifact may not be written to ``directory``.

    Args:
      directory: where the artifact is to be.
      overwrite: whether it may replace another.
    """
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return
    if not (directory / MANIFEST).is_file():
        raise FileExistsError(f"{directory} exists and is no artifact; choose another folder.")
    if not overwrite:
        raise FileExistsError(
            f"{directory} already holds an artifact; pass overwrite to replace it."
        )


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
