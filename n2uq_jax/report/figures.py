"""All pictures of a run."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.typing import ArrayLike

from n2uq_jax import nn
from n2uq_jax.compilation import quick_jit
from n2uq_jax.workdir.stages import teachers, title

MAX_SAMPLES = 1_000_000
"""A histogram uses at most about this many values of a quantizer's input."""


def write_figures(
    model: nnx.Module,
    metrics_path: str | os.PathLike[str],
    sample_inputs: ArrayLike | None,
    out_dir: str | os.PathLike[str],
    config: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Draws the training curves and, for a quantized network, its staircases.

    Args:
      model: the trained network; it is run in evaluation mode and left as it is.
      metrics_path: the run's ``metrics.jsonl``.
      sample_inputs: one batch as the network takes it: normalized images, shape
        ``(batch, height, width, channels)``. None leaves the histograms out.
      out_dir: folder for the pictures, made if it is missing.
      config: of the run: its network, its data set and its teachers are named on the curves.

    Returns:
      The files ``training_curves.png``, then ``staircases.png``, ``staircases_2.png``, ..

    Raises:
      FileNotFoundError: if there are no metrics.
      ValueError: if the metrics are damaged or empty.
    """
    # matplotlib comes with an extra, and whoever only trains should not wait for its import.
    from n2uq_jax.report.curves import draw_curves, read_curves
    from n2uq_jax.report.staircase import draw_staircases
    from n2uq_jax.report.style import save

    out_dir = Path(out_dir)
    curves = draw_curves(
        read_curves(metrics_path),
        title="" if config is None else title(config),
        teachers=None if config is None else teachers(config),
    )
    written = [save(curves, out_dir / "training_curves.png")]
    inputs = {} if sample_inputs is None else observe(model, sample_inputs)
    pages = draw_staircases(nn.quantizers(model), inputs)
    for number, page in enumerate(pages, 1):
        name = "staircases.png" if number == 1 else f"staircases_{number}.png"
        written.append(save(page, out_dir / name))
    return written


def observe(model: nnx.Module, sample_inputs: ArrayLike) -> dict[str, np.ndarray]:
    """Runs a network in evaluation mode and collects what enters its quantizers.

    Args:
      model: the network; left as it is.
      sample_inputs: one batch as the network takes it.

    Returns:
      For each quantizer's path a float32 array of shape ``(samples,)``: all values, or evenly
      chosen ones of a large input.
    """
    if not nn.quantizers(model):
        return {}
    evaluation = nnx.view(
        model, use_running_average=True, deterministic=True, raise_if_not_found=False
    )
    graphdef, state = nnx.split(evaluation)

    @quick_jit
    def run(state, x):
        calls = nn.quantizer_inputs(nnx.merge(graphdef, state), x)
        return {path: [_thin(call) for call in values] for path, values in calls.items()}

    return {
        path: np.concatenate([np.asarray(call, np.float32) for call in calls])
        for path, calls in run(state, np.asarray(sample_inputs)).items()
    }


def _thin(x: jax.Array) -> jax.Array:
    # An odd stride: with an even one whole channels would be left out.
    stride = x.size // MAX_SAMPLES
    return x.ravel()[:: stride + 1 - stride % 2]
