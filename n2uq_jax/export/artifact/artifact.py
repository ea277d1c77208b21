"""An artifact as a callable: images to logits."""

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from n2uq_jax.export.artifact.folder import read_artifact
from n2uq_jax.export.artifact.manifest import WEIGHTS, ArtifactError

PROGRAM = "model.stablehlo"

ENGINES = {"xla": (PROGRAM, "stablehlo"), "c": ("model.c", "c")}
"""What computes an artifact; the program that it takes, and the format which that is."""


@dataclasses.dataclass(frozen=True, repr=False)
class Artifact:
    """An integer model, read from its folder.

    Args:
      directory: the folder.
      manifest: what ``manifest.json`` says.
      weights: the tensors of ``weights.safetensors``.
      function: the program: images to logits.
    """

    directory: Path
    manifest: dict[str, Any]
    weights: Mapping[str, jax.Array]
    function: Callable[[Any], Any]

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
          Logits, float32, shape ``(batch, classes)``; a NumPy array if the engine is C.

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
        return self.function(images)


def load_artifact(
    directory: str | os.PathLike[str], engine: str = "xla", threads: int | None = None
) -> Artifact:
    """Reads an artifact and checks every file of it.

    Args:
      directory: what ``n2uq export`` wrote.
      engine: what computes: ``"xla"``; or ``"c"``, the artifact's ``model.c``, which the system's C
        compiler compiles once.
      threads: of the engine ``"c"``, which compute an image each; fewer images than threads they
        share one by one, for which they want idle cores. None: one a core, and never more than
        images.

    Returns:
      A callable from images to logits.

    Raises:
      FileNotFoundError: if there is no manifest.
      ArtifactError: if a file is missing, truncated or changed, or the artifact comes from a newer
        version, or has no program for the engine.
      CompilerError: if the engine is ``"c"`` and there is no compiler.
      ValueError: if there is no such engine, or it takes no threads.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}; got {engine!r}.")
    if threads is not None and engine != "c":
        raise ValueError(f"threads must be None for the engine {engine}, got {threads}.")
    directory = Path(directory)
    manifest, contents = read_artifact(directory)
    program, name = ENGINES[engine]
    if program not in contents:
        raise ArtifactError(
            f"artifact {directory} has no {program}: export it with --format {name}."
        )
    weights = _read_weights(directory, contents)
    if engine == "c":
        return Artifact(directory, manifest, weights, _native(contents, threads))
    return Artifact(directory, manifest, weights, _compiled(directory, contents, weights))


def _read_weights(directory: Path, contents: Mapping[str, bytes]) -> dict[str, jax.Array]:
    from safetensors.numpy import load

    try:
        return {k: jax.device_put(v) for k, v in load(contents[WEIGHTS]).items()}
    except Exception as error:  # whatever the reader makes of damaged bytes
        raise ArtifactError(f"artifact {directory} cannot be read: {error}.") from error


def _compiled(
    directory: Path, contents: Mapping[str, bytes], weights: Mapping[str, jax.Array]
) -> Callable[[Any], jax.Array]:
    import jax.export

    try:
        program = jax.export.deserialize(bytearray(contents[PROGRAM]))
    except Exception as error:  # whatever the reader makes of damaged bytes
        raise ArtifactError(f"artifact {directory} cannot be read: {error}.") from error
    return functools.partial(jax.jit(program.call), weights)


def _native(contents: Mapping[str, bytes], threads: int | None) -> Callable[[Any], np.ndarray]:
    from n2uq_jax.export.formats.c.engine import NativeProgram
    from n2uq_jax.export.formats.c.generate import Source

    source = Source(contents["model.c"].decode(), contents["model.h"].decode())
    return NativeProgram(source, threads=threads).logits
