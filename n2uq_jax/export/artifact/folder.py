"""The artifact: a folder of files that vouch for each other."""

import dataclasses
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

FORMAT_VERSION = 1
"""Version of the artifacts that this library writes; it reads these and older ones."""

MANIFEST = "manifest.json"


class ArtifactError(ValueError):
    """An artifact is damaged, was changed, or comes from a newer version."""


@dataclasses.dataclass(frozen=True)
class Artifact:
    """An integer model, read from its folder.

    Args:
      directory: the folder.
      manifest: what ``manifest.json`` says.
      weights: the tensors of ``weights.safetensors``.
    """

    directory: Path
    manifest: dict[str, Any]
    weights: Mapping[str, jax.Array]

    def __call__(self, images: jax.Array | np.ndarray) -> jax.Array:
        """Classifies images.

        Args:
          images: shape ``(batch, height, width, channels)``, any batch size; normalized float32,
            or uint8 pixels if the network takes those, as the manifest's ``image_dtype`` says.

        Returns:
          Logits, shape ``(batch, classes)``.

        Raises:
          ValueError: if the images have another shape or dtype.
        """
        shape = tuple(self.manifest["image_shape"])
        dtype = np.dtype(self.manifest.get("image_dtype", "float32"))
        if images.shape[1:] != shape or images.dtype != dtype:
            raise ValueError(
                f"images must be {dtype} of shape (batch, {', '.join(map(str, shape))}), "
                f"got {images.dtype} of shape {images.shape}."
            )
        return self._run(self.weights, images)

    @functools.cached_property
    def _run(self):
        serialised = (self.directory / "model.stablehlo").read_bytes()
        return jax.jit(jax.export.deserialize(bytearray(serialised)).call)


def load_artifact(directory: str | os.PathLike[str]) -> Artifact:
    """Reads an artifact and checks every file of it.

    Args:
      directory: what ``python -m n2uq_jax.export`` wrote.

    Returns:
      A callable from normalized float32 images to logits.

    Raises:
      FileNotFoundError: if there is no manifest.
      ArtifactError: if a file is missing, truncated or changed, or the artifact comes from a newer
        version.
    """
    import jax.export
    from safetensors.numpy import load_file

    directory = Path(directory)
    manifest = check(directory)
    if "model.stablehlo" not in manifest["files"]:
        raise ArtifactError(
            f"artifact {directory} has no model.stablehlo: export it with --format stablehlo."
        )
    weights = load_file(directory / "weights.safetensors")
    return Artifact(directory, manifest, {k: jax.device_put(v) for k, v in weights.items()})


def check(directory: Path) -> dict[str, Any]:
    """Checks an artifact's files against its manifest.

    Args:
      directory: the artifact.

    Returns:
      The manifest.

    Raises:
      FileNotFoundError: if there is no manifest.
      ArtifactError: as for :func:`load_artifact`.
    """
    path = directory / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"{directory} is no artifact: it has no {MANIFEST}.")
    try:
        manifest = json.loads(path.read_text())
        version, written_by = manifest["format_version"], manifest["versions"]["n2uq_jax"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path} is damaged: {error!r}.") from error
    if version > FORMAT_VERSION:
        raise ArtifactError(
            f"artifact {directory} has format {version}, written by n2uq_jax {written_by}; this "
            f"version reads formats up to {FORMAT_VERSION}. Upgrade n2uq_jax."
        )
    if manifest.get("sha256") != _manifest_digest(manifest):
        raise ArtifactError(f"{path} was changed: its own sha256 does not fit.")
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
        if _digest(file.read_bytes()) != expected["sha256"]:
            raise ArtifactError(f"{file} was changed: its sha256 is not that of the manifest.")
    return manifest


def write_artifact(
    directory: Path, files: Mapping[str, bytes], manifest: dict[str, Any], *, overwrite: bool
) -> None:
    """Writes an artifact: all of it, or nothing.

    Args:
      directory: where to; its parent is created.
      files: contents by name, without the manifest.
      manifest: JSON-able; digests and the format version are added.
      overwrite: replace an artifact that is there.

    Raises:
      FileExistsError: if ``directory`` exists and is not empty, and is no artifact to overwrite.
    """
    check_target(directory, overwrite)
    manifest = {
        "format_version": FORMAT_VERSION,
        **manifest,
        "files": {
            name: {"bytes": len(content), "sha256": _digest(content)}
            for name, content in sorted(files.items())
        },
    }
    manifest["sha256"] = _manifest_digest(manifest)
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
    """Raises FileExistsError if an artifact may not be written to ``directory``."""
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


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _manifest_digest(manifest: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return _digest(json.dumps(rest, sort_keys=True).encode())
