"""``manifest.json``: what an artifact holds, and the digests by which its files vouch for it."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FORMAT_VERSION = 1
"""Version of the artifacts that this library writes; it reads these and older ones."""

MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"


class ArtifactError(ValueError):
    """An artifact is damaged, was changed, or comes from a newer version."""


def make_manifest(files: Mapping[str, bytes], about: Mapping[str, Any]) -> dict[str, Any]:
    """Describes an artifact.

    Args:
      files: contents by name.
      about: JSON-able; goes to the manifest as it is.

    Returns:
      The manifest, with the format's version, and a digest of every file and of itself.
    """
    manifest = {
        "format_version": FORMAT_VERSION,
        **about,
        "files": {
            name: {"bytes": len(content), "sha256": digest(content)}
            for name, content in sorted(files.items())
        },
    }
    return {**manifest, "sha256": _own_digest(manifest)}


def read_manifest(directory: Path) -> dict[str, Any]:
    """Reads the manifest of an artifact and checks it, but not the files that it names.

    Args:
      directory: the artifact.

    Returns:
      The manifest; its ``files`` lie in ``directory`` itself, and weights are among them.

    Raises:
      FileNotFoundError: if there is no manifest.
      ArtifactError: if it is damaged, was changed, or comes from a newer version.
    """
    path = directory / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"{directory} is no artifact: it has no {MANIFEST}.")
    try:
        manifest = json.loads(path.read_text())
        version, written_by = manifest["format_version"], manifest["versions"]["n2uq_jax"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtifactError(f"{path} is damaged: {error!r}.") from error
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ArtifactError(f"{path} is damaged: format_version is {version!r}.")
    if version > FORMAT_VERSION:
        raise ArtifactError(
            f"artifact {directory} has format {version}, written by n2uq_jax {written_by}; this "
            f"version reads formats up to {FORMAT_VERSION}. Upgrade n2uq_jax."
        )
    if manifest.get("sha256") != _own_digest(manifest):
        raise ArtifactError(f"{path} was changed: its own sha256 does not fit.")
    _check_files(path, manifest.get("files"))
    return manifest


def digest(content: bytes) -> str:
    """Returns the SHA-256 of some bytes in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def _check_files(path: Path, files: Any) -> None:
    if not isinstance(files, dict):
        raise ArtifactError(f"{path} is damaged: files is {type(files).__name__}.")
    for name, about in files.items():
        # A name is no path: an artifact must not make its reader open other files.
        if not name or name in (".", "..", MANIFEST) or any(c in name for c in "/\\\0"):
            raise ArtifactError(f"{path} names {name!r}, which is no file of an artifact.")
        if (
            not isinstance(about, dict)
            or type(about.get("bytes")) is not int
            or not isinstance(about.get("sha256"), str)
        ):
            raise ArtifactError(f"{path} is damaged: it says {about!r} of {name}.")
    if WEIGHTS not in files:
        raise ArtifactError(f"{path} is damaged: {WEIGHTS} is not among its files.")


def _own_digest(manifest: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return digest(json.dumps(rest, sort_keys=True).encode())
