"""An artifact in several runtimes: do they give the same integers?"""

import dataclasses
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from n2uq_jax.export.artifact.artifact import load_artifact

Run = Callable[[np.ndarray], np.ndarray]
"""From images to logits."""


@dataclasses.dataclass(frozen=True)
class RuntimeComparison:
    """The logits of an artifact in XLA against those in another runtime.

    Args:
      runtime: the other one's name.
      images: how many were compared.
      logits: how many.
      differing: how many of them are another number.
    """

    runtime: str
    images: int
    logits: int
    differing: int

    def __str__(self) -> str:
        verdict = "the same" if not self.differing else "NOT the same"
        return (
            f"in {self.runtime} and in XLA: {verdict}, {self.differing:,} of {self.logits:,} "
            f"logits of {self.images:,} images differ"
        )


def compare_runtimes(
    directory: str | os.PathLike[str], images: np.ndarray
) -> list[RuntimeComparison]:
    """Runs an artifact in every runtime that is at hand, and compares it with XLA.

    Args:
      directory: the artifact.
      images: as the artifact takes them, shape ``(n, height, width, channels)``.

    Returns:
      One entry a runtime: ONNX Runtime, if it is installed and the artifact has ``model.onnx``.
    """
    directory = Path(directory)
    runs: dict[str, Run] = {}
    model = directory / "model.onnx"
    if model.exists() and importlib.util.find_spec("onnxruntime") is not None:
        runs["ONNX Runtime"] = onnx_runtime(model)
    if not runs:
        return []
    expected = np.asarray(load_artifact(directory)(images))
    results = []
    for name, run in runs.items():
        differing = int((run(images) != expected).sum())
        results.append(RuntimeComparison(name, len(images), expected.size, differing))
    return results


def onnx_runtime(model: Path) -> Run:
    """Returns a model in ONNX Runtime as a function.

    Args:
      model: a ``model.onnx``.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    (name,) = [argument.name for argument in session.get_inputs()]
    return lambda images: session.run(None, {name: images})[0]
