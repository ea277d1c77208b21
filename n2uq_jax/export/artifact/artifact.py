"""An artifact as a callable: images to logits."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from n2uq_jax.export.artifact.folder import read_artifact
from n2uq_jax.export.artifact.manifest import WEIGHTS, ArtifactError

PROGRAM = "model.stablehlo"


@dataclasses.dataclass(frozen=True, repr=False)
class Artifact:
    """An integer model, read from its folder.

    Args:
      directory: the folder.
      manifest: what ``manifest.json`` says.
      weights: the tensors of ``weights.safetensors``.
      function: the program of ``model.stablehlo``: weights and images to logits.
    """

    directory: Path
    manifest: dict[str, Any]
    weights: Mapping[str, jax.Array]
    function: Callable[[Mapping[str, jax.Array], jax.Array | np.ndarray], jax.Array]

    def __repr__(self) -> str:
        about = self.manifest
        size = sum(file["bytes"] for file in about["files"].values())
        dtype = about.get("image_dtype", "float32")
        return "\n".join(
            (
                f"Artifact({str(self.directory)!r})",
                f"  images: {dtype}, (batch, {', '.join(map(str, about['image_shape']))})",
                f"  logits: {about['classes']} classes",
                f"  files: {', '.join(about['files'])}; {size / 1e6:.2f} MB",
                f"  written by n2uq_jax {about['versions']['n2uq_jax']} on {about['backend']}",
            )
        )

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
        return self.function(self.weights, images)


def load_artifact(directory: str | os.PathLike[str]) -> Artifact:
    """Reads an artifact and checks every file of it.

    Args:
      directory: what ``python -m n2uq_jax.export`` wrote.

    Returns:
      A callable from images to logits.

    Raises:
      FileNotFoundError: if there is no manifest.
      ArtifactError: if a file is missing, truncated or changed, or the artifact comes from a newer
        version.
    """
    import jax.export
    from safetensors.numpy import load

    directory = Path(directory)
    manifest, contents = read_artifact(directory)
    if PROGRAM not in contents:
        raise ArtifactError(
            f"artifact {directory} has no {PROGRAM}: export it with --format stablehlo."
        )
    try:
        weights = {k: jax.device_put(v) for k, v in load(contents[WEIGHTS]).items()}
        program = jax.export.deserialize(bytearray(contents[PROGRAM]))
    except Exception as error:  # whatever the two readers make of damaged bytes
        raise ArtifactError(f"artifact {directory} cannot be read: {error}.") from error
    return Artifact(directory, manifest, weights, jax.jit(program.call))
