"""From a trained network to an artifact on disk, with its proof."""

import dataclasses
import json
import math
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
from n2uq_jax.export.artifact.tensors import (
    describe_tensors,
    flatten,
    pack_tensors,
    serialise_tensors,
)
from n2uq_jax.export.formats import check_formats, write_format
from n2uq_jax.export.formats.c.compile import CompilerError
from n2uq_jax.export.program.build import build
from n2uq_jax.export.program.program import IntegerProgram
from n2uq_jax.export.proof.comparison import check_images
from n2uq_jax.export.proof.native import NativeComparison, compare_native
from n2uq_jax.export.proof.proof import Proof, prove_traced
from n2uq_jax.export.trace.model import trace_model
from n2uq_jax.export.trace.reference import Model
from n2uq_jax.progress import Progress, counted, shown


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
      native: how the C program compares, or why it was not run; None if there is none.
    """

    directory: Path
    program: IntegerProgram
    proof: Proof
    report: dict[str, Any]
    native: NativeComparison | str | None = None

    def __str__(self) -> str:
        size = self.report["size"]
        lines = [str(self.proof)]
        lines += [f"  kept in float: {k}: {why}" for k, why in self.program.unfolded.items()]
        if self.native is not None:
            lines.append(f"  C program: {self.native}")
        formats = ", ".join(f"{name} {_mb(of)}" for name, of in size["formats"].items())
        lines.append(f"{self.directory}: {_mb(size['artifact'])}, of which {formats}")
        if size["weights"]:
            smaller = size["weights_float32"] / size["weights"]
            lines.append(
                f"  weights of quantized layers: {_mb(size['weights'])}, {smaller:.1f} times "
                "smaller than in float32"
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
    title: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Exports a network built of this library's quantizers as an integer model.

    Args:
      model: an NNX module, or a pair of a function of (parameters, images) and its parameters.
      directory: the artifact to write.
      image_shape: ``(height, width, channels)``.
      images: images to compare the program with the network on, shape ``(n, *image_shape)``:
        normalized float32, or uint8 if the network takes pixels; None for 64 of noise.
      formats: among :data:`~n2uq_jax.export.formats.FORMATS`.
      preprocessing: how an image becomes the network's input; JSON-able, goes to the manifest.
      class_names: one a logit.
      source: where the network comes from; JSON-able, goes to the manifest.
      title: of the page that the format html writes; None for one that says what images it takes.
      overwrite: replace an artifact that is there.
      progress: told about each step; None for a bar, in a terminal or a notebook, once the export
        has taken three seconds.

    Returns:
      The program, the proof and the report; the artifact is complete on disk.

    Raises:
      FileExistsError: if the directory is taken.
      NotEqual: if the enumeration finds a difference; this would be a fault of this library, or a
        backend that does not compute reproducibly.
      ImportError: if a format needs a package that is not installed.
      CompilerError: if a format needs a compiler that is not installed.
      ValueError: if an argument does not fit, a parameter is not finite, or the network cannot be
        exported.
    """
    directory = Path(directory)
    check_formats(formats)
    check_target(directory, overwrite)
    _check_json(preprocessing=preprocessing, source=source)
    _check_preprocessing(preprocessing, image_shape)
    image_dtype = None if images is None else images.dtype
    traced, parameters = trace_model(model, tuple(image_shape), image_dtype)
    _check_page(formats, title, traced.image_dtype)
    (logits,) = traced.at(1).graph.outputs
    _check_class_names(class_names, logits.shape[-1])
    data = "noise" if images is None else "given"
    images = _noise(traced.images(64)) if images is None else images
    check_images(traced, images)
    with shown(progress) as progress:
        program = build(traced, traced.constants(parameters), progress)
        proof = prove_traced(program, traced, parameters, images, progress=progress)
        if data == "noise":
            proof = dataclasses.replace(proof, data=dataclasses.replace(proof.data, noise=True))
        if proof.tensors or any(edge.differing for edge in proof.edges):
            raise NotEqual(f"nothing was written to {directory}: {proof}")
        native = _compare_native(program, images, progress) if "c" in formats else None
        tensors = flatten(program)
        packed, packings = pack_tensors(tensors)
        files = {"weights.safetensors": serialise_tensors(packed)}
        sizes: dict[str, int] = {}
        for name in counted(formats, "Writing formats", len(formats), progress):
            written = write_format(
                program,
                name,
                title=title,
                class_names=class_names,
                preprocessing=preprocessing,
                images=images if data == "given" else None,
            )
            sizes[name] = sum(map(len, written.values()))
            files |= written
    report = {
        "verdict": proof.verdict,
        "integer-only": proof.integer_only,
        "backend": proof.backend,
        "data": data,
        "accumulators_compared": proof.values,
        "unfolded": dict(program.unfolded),
        "proof": _jsonable(proof),
        **({} if native is None else {"c": _native_report(native)}),
        "size": {
            "weights": sum(packed[name].nbytes for name in packings),
            "weights_float32": sum(4 * tensors[name].size for name in packings),
            "formats": sizes,
            "artifact": sum(len(content) for content in files.values()),
            "float32": sum(4 * int(np.prod(p.shape)) for p in traced.parameters.values()),
        },
    }
    files["report.json"] = (json.dumps(report, indent=1, allow_nan=False) + "\n").encode()
    manifest = {
        "versions": _versions(),
        "backend": jax.default_backend(),
        "image_shape": list(traced.image_shape),
        "image_dtype": traced.image_dtype.name,
        "classes": logits.shape[-1],
        "class_names": list(class_names) if class_names else None,
        "preprocessing": preprocessing,
        "source": source,
        "tensors": describe_tensors(packed, packings),
        "program": describe(program),
    }
    write_artifact(directory, files, manifest, overwrite=overwrite)
    return Exported(directory, program, proof, report, native)


def _mb(size: int) -> str:
    return f"{size / 1e6:.2f} MB"


def _compare_native(
    program: IntegerProgram, images: np.ndarray, progress: Progress
) -> NativeComparison | str:
    """Compares the C program with XLA, or returns why it could not be compiled."""
    try:
        return compare_native(program, images, progress=progress)
    except CompilerError as error:
        return f"not run, since {error}"


def _native_report(native: NativeComparison | str) -> dict[str, Any]:
    if isinstance(native, str):
        return {"run": False, "reason": native}
    fields = dataclasses.asdict(native)
    if not math.isfinite(native.largest_logit_difference):
        fields["largest_logit_difference"] = None
    return {"run": True, **fields}


def _jsonable(proof: Proof) -> dict[str, Any]:
    """Returns a proof as a dict; what is not finite becomes None, as JSON has no NaN."""
    fields = dataclasses.asdict(proof)
    if not math.isfinite(proof.data.largest_logit_difference):
        fields["data"]["largest_logit_difference"] = None
    return fields


def _noise(shape: jax.ShapeDtypeStruct) -> np.ndarray:
    """Returns images of noise: normalized floats, or pixels."""
    rng = np.random.default_rng(0)
    if np.issubdtype(shape.dtype, np.integer):
        return rng.integers(0, 256, shape.shape).astype(shape.dtype)
    return rng.normal(size=shape.shape).astype(shape.dtype)


def _check_json(**values: Any) -> None:
    for name, value in values.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} must be JSON-able: {error}.") from error


def _check_page(formats: Sequence[str], title: Any, image_dtype: np.dtype) -> None:
    """Refuses what a page cannot show before the enumeration, which takes long."""
    if title is not None and not isinstance(title, str):
        raise ValueError(f"title must be a string or None, got {title!r}.")
    if "html" in formats and image_dtype != np.uint8:
        raise ValueError(
            f"the format html takes integer-only networks, whose images are uint8, got one for "
            f"{image_dtype}: create it with integer_only=True, or convert it by "
            "n2uq.to_integer_only."
        )


def _check_class_names(names: Sequence[str] | None, classes: int) -> None:
    if names is None:
        return
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"class_names must be a sequence of strings, got {names!r}.")
    if len(names) != classes:
        raise ValueError(f"class_names must have {classes} entries, got {len(names)}.")


def _check_preprocessing(preprocessing: Any, image_shape: Sequence[int]) -> None:
    """Refuses what ``python -m n2uq_jax.predict`` could not follow."""
    if preprocessing is None:
        return
    if not isinstance(preprocessing, dict):
        raise ValueError(f"preprocessing must be a dict, got {preprocessing!r}.")
    channels = image_shape[-1] if len(image_shape) else 0
    for key in ("mean", "std"):
        values = preprocessing.get(key)
        if not isinstance(values, list | tuple) or len(values) not in (1, channels):
            raise ValueError(
                f'preprocessing["{key}"] must have a number for each of {channels} channels, '
                f"got {values!r}."
            )
    if not {"resize"} <= set(preprocessing) and not (
        {"resize_shorter_side", "center_crop"} <= set(preprocessing)
    ):
        raise ValueError(
            'preprocessing must have "resize", or "resize_shorter_side" and "center_crop"; '
            f"got {sorted(preprocessing)}."
        )


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("jax", "jaxlib", "flax", "numpy")}
    return {"n2uq_jax": n2uq_jax.__version__, **packages, "python": platform.python_version()}
