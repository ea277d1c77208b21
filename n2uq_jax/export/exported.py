"""From a trained network to an artifact on disk, with its proof."""

import dataclasses
import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

import n2uq_jax
from n2uq_jax.export.artifact.description import describe
from n2uq_jax.export.artifact.folder import check_target, write_artifact
from n2uq_jax.export.artifact.tensors import describe_tensors, pack_tensors, serialise_tensors
from n2uq_jax.export.program.build import build_program
from n2uq_jax.export.program.program import IntegerProgram
from n2uq_jax.export.progress import Progress, silent
from n2uq_jax.export.proof.proof import Proof, prove
from n2uq_jax.export.trace.reference import Model

FORMATS = ("stablehlo", "onnx", "qonnx")
"""What an artifact can hold beside its weights."""


class NotEqual(ValueError):
    """A program's thresholds or weights differ from the network's: nothing was written."""


@dataclasses.dataclass(frozen=True)
class Exported:
    """What :func:`export_model` made.

    Args:
      directory: the artifact.
      program: the integer program.
      proof: that it equals the network.
      report: what ``report.json`` says.
    """

    directory: Path
    program: IntegerProgram
    proof: Proof
    report: dict[str, Any]

    def __str__(self) -> str:
        size = self.report["size"]
        lines = [str(self.proof)]
        lines += [f"  kept in float: {k}: {why}" for k, why in self.program.unfolded.items()]
        lines.append(
            f"{self.directory}: {size['artifact'] / 1e6:.2f} MB, "
            f"{size['float32'] / size['artifact']:.1f} times smaller than the float32 parameters"
        )
        return "\n".join(lines)


def export_model(
    model: Model,
    directory: str | os.PathLike[str],
    *,
    image_shape: Sequence[int],
    images: np.ndarray | None = None,
    formats: Sequence[str] = ("stablehlo",),
    preprocessing: dict[str, Any] | None = None,
    class_names: Sequence[str] | None = None,
    source: dict[str, Any] | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Exported:
    """Exports a network built of this library's quantizers as an integer model.

    Args:
      model: an NNX module, or a pair of a function of (parameters, images) and its parameters.
      directory: the artifact to write.
      image_shape: ``(height, width, channels)``.
      images: normalized float32 images to compare the program with the network on, shape
        ``(n, *image_shape)``; None for 64 of noise.
      formats: among :data:`FORMATS`.
      preprocessing: how an image becomes the network's input; JSON-able, goes to the manifest.
      class_names: one a logit.
      source: where the network comes from; JSON-able, goes to the manifest.
      overwrite: replace an artifact that is there.
      progress: told about each step.

    Returns:
      The program, the proof and the report; the artifact is complete on disk.

    Raises:
      FileExistsError: if the directory is taken.
      NotEqual: if the enumeration finds a difference; this would be a fault of this library, or a
        backend that does not compute reproducibly.
      ValueError: if an argument does not fit, or the network cannot be exported.
    """
    directory = Path(directory)
    unknown = set(formats) - set(FORMATS)
    if unknown or not formats:
        raise ValueError(f"formats must be among {', '.join(FORMATS)}; got {sorted(formats)}.")
    check_target(directory, overwrite)
    image_shape = tuple(image_shape)
    data = "given"
    if images is None:
        rng = np.random.default_rng(0)
        images, data = rng.normal(size=(64, *image_shape)).astype(np.float32), "noise"
    program = build_program(model, image_shape, progress)
    proof = prove(program, model, images, progress=progress)
    if proof.tensors or any(edge.differing for edge in proof.edges):
        raise NotEqual(f"nothing was written to {directory}: {proof}")
    packed, packings = pack_tensors(program.tensors)
    files = {"weights.safetensors": serialise_tensors(packed)}
    for i, name in enumerate(formats):
        progress("Writing formats", i, len(formats))
        files |= _convert(program, name)
    progress("Writing formats", len(formats), len(formats))
    report = {
        "verdict": "equal" if proof.ok else "not equal",
        "backend": proof.backend,
        "data": data,
        "accumulators_compared": proof.values,
        "unfolded": dict(program.unfolded),
        "proof": dataclasses.asdict(proof),
        "size": {
            "weights": sum(packed[name].nbytes for name in packings),
            "artifact": sum(len(content) for content in files.values()),
            "float32": sum(4 * int(np.prod(p.shape)) for p in program.parameters.values()),
        },
    }
    files["report.json"] = (json.dumps(report, indent=1) + "\n").encode()
    classes = program(images[:1]).shape[-1]
    manifest = {
        "versions": _versions(),
        "backend": jax.default_backend(),
        "image_shape": list(image_shape),
        "classes": classes,
        "class_names": list(class_names) if class_names else None,
        "preprocessing": preprocessing,
        "source": source,
        "tensors": describe_tensors(packed, packings),
        "program": describe(program),
    }
    if class_names is not None and len(class_names) != classes:
        raise ValueError(f"class_names must have {classes} entries, got {len(class_names)}.")
    write_artifact(directory, files, manifest, overwrite=overwrite)
    return Exported(directory, program, proof, report)


def _convert(program: IntegerProgram, name: str) -> dict[str, bytes]:
    # Imported here: each format needs packages that the others do not.
    if name == "stablehlo":
        from n2uq_jax.export.formats.stablehlo import to_stablehlo

        return {"model.stablehlo": to_stablehlo(program)}
    if name == "onnx":
        from n2uq_jax.export.formats.onnx.integers import to_onnx

        return {"model.onnx": to_onnx(program)}
    from n2uq_jax.export.formats.qonnx import to_qonnx

    return {"model.qonnx.onnx": to_qonnx(program)}


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("jax", "jaxlib", "flax", "numpy")}
    return {"n2uq_jax": n2uq_jax.__version__, **packages, "python": platform.python_version()}
