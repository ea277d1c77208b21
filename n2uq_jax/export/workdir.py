"""Exports the trained network of a workdir, and evaluates an artifact on its data set."""

import importlib.util
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from n2uq_jax import data
from n2uq_jax.compilation import quick_jit
from n2uq_jax.export.artifact.artifact import load_artifact
from n2uq_jax.export.artifact.folder import check_target
from n2uq_jax.export.exported import Exported, export_model
from n2uq_jax.export.proof.runtimes import compare_runtimes
from n2uq_jax.progress import Progress, counted, silent
from n2uq_jax.workdir.accuracy import classification_sums, evaluate
from n2uq_jax.workdir.config_json import read_workdir
from n2uq_jax.workdir.model import load, open_dataset

COMPARED_IMAGES = 1000
"""How many evaluation images the runtimes of an artifact are compared on."""


def export_workdir(
    workdir: str | os.PathLike[str],
    directory: str | os.PathLike[str],
    *,
    formats: Sequence[str] = ("stablehlo",),
    images: int = 1000,
    stage: str | None = None,
    data_dir: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Exported:
    """Exports a trained network; the comparison runs on its evaluation images.

    Args:
      workdir: what ``n2uq train`` wrote.
      directory: the artifact to write.
      formats: as in :func:`~n2uq_jax.export.exported.export_model`.
      images: how many evaluation images to compare on; 0 for noise, without the data set.
      stage: training stage; None for the last that has a checkpoint.
      data_dir: where the data are now; None for where they were in training.
      overwrite: replace an artifact that is there.
      progress: as in ``export_model``.
      **options: further arguments of ``export_model``.

    Returns:
      The program, the proof and the report.

    Raises:
      FileNotFoundError: if the workdir, a checkpoint or the data set is missing.
      FileExistsError: if the directory is taken.
    """
    check_target(Path(directory), overwrite)
    contents = read_workdir(workdir)
    settings, about = contents["config"]["data"], contents["dataset"]
    model = load(workdir, stage=stage)
    dtype = getattr(model, "image_dtype", np.float32)
    compared = None
    if images:
        dataset = open_dataset(settings, data_dir)
        batches = [
            batch["image"][batch["weight"] > 0]
            for batch in _batches(dataset, min(images, 100), images, dtype)
        ]
        compared = np.concatenate(batches)[:images]
    return export_model(
        model,
        directory,
        image_shape=about["image_shape"],
        images=compared,
        formats=formats,
        preprocessing=about["preprocessing"],
        class_names=about["class_names"],
        source={"data": settings, "stage": stage},
        title=f"{contents['config']['model']['name']} on {settings['name']}",
        overwrite=overwrite,
        progress=progress,
        **options,
    )


def export_and_evaluate(workdir: str | os.PathLike[str], directory: str | os.PathLike[str]) -> str:
    """Exports a trained network and evaluates the artifact: how a run ends.

    Args:
      workdir: what ``n2uq train`` wrote.
      directory: the artifact; one that is there is replaced.

    Returns:
      The proof's verdict, the artifact's accuracy and, for an integer-only network, whether
      other runtimes give the same integers, in words.
    """
    formats = ["stablehlo", *(["onnx"] if importlib.util.find_spec("onnx") else [])]
    exported = export_workdir(workdir, directory, formats=formats, overwrite=True)
    metrics = evaluate_artifact(directory)
    hits = round(metrics["top1"] * metrics["images"])
    lines = [
        str(exported),
        f"integer model: top-1 {metrics['top1']:.2%}, {hits:,} of {metrics['images']:,} images",
    ]
    if exported.program.integer_only:
        config = read_workdir(workdir)["config"]
        batches = _batches(open_dataset(config["data"]), 100, COMPARED_IMAGES, np.uint8)
        images = np.concatenate([batch["image"][batch["weight"] > 0] for batch in batches])
        lines += map(str, compare_runtimes(directory, images))
    return "\n".join(lines)


def evaluate_artifact(
    directory: str | os.PathLike[str],
    *,
    data_dir: str | None = None,
    batch_size: int | None = None,
    engine: str = "xla",
    progress: Progress = silent,
) -> dict[str, float]:
    """Evaluates an integer model on the evaluation images of the data set it was trained for.

    Args:
      directory: an artifact that was exported from a workdir.
      data_dir: where the data are now; None for where they were in training.
      batch_size: images at a time; None for 100.
      engine: ``"xla"`` or ``"c"``.
      progress: told about each batch.

    Returns:
      ``loss``, ``top1``, ``top5`` and the number of ``images``.

    Raises:
      FileNotFoundError: if the artifact or the data set is missing.
      ValueError: if the artifact does not say what it was trained on.
    """
    artifact = load_artifact(directory, engine)
    source = artifact.manifest["source"]
    if source is None:
        raise ValueError(f"artifact {directory} was not exported from a workdir: it has no data.")
    dataset = open_dataset(source["data"], data_dir)
    dtype = artifact.manifest.get("image_dtype", "float32")

    measure = quick_jit(classification_sums)

    def sums(batch: dict[str, Any]) -> dict[str, jax.Array]:
        return measure(jnp.asarray(artifact(batch["image"])), batch["label"], batch["weight"])

    images, size = len(dataset.evaluation), batch_size or 100
    batches = _batches(dataset, size, images, dtype)
    return evaluate(sums, counted(batches, "Evaluating", -(-images // size), progress))


def _batches(
    dataset: data.Dataset, batch_size: int, images: int, dtype: Any
) -> Iterator[dict[str, Any]]:
    """Yields evaluation batches with at least ``images`` images if there are.

    Images are normalized, or pixels as they are if ``dtype`` is uint8.
    """
    seen = 0
    for batch in data.eval_batches(dataset, batch_size):
        image: Any = batch["image"]
        if np.dtype(dtype) != np.uint8:
            image = data.normalize(jnp.asarray(image), dataset.mean, dataset.std)
        yield {**batch, "image": np.asarray(image)}
        seen += batch_size
        if seen >= images:
            return
