"""From a trained network to its integer program."""

from typing import Any

import numpy as np

from n2uq_jax.export.program.program import IntegerProgram
from n2uq_jax.export.thresholds.chain import compile_chain
from n2uq_jax.export.thresholds.folding import CannotFold, fold
from n2uq_jax.export.thresholds.thresholds import Thresholds
from n2uq_jax.export.trace.constants import Constants
from n2uq_jax.export.trace.model import TracedModel, trace_model
from n2uq_jax.export.trace.reference import Model
from n2uq_jax.progress import Progress, silent


def build_program(
    model: Model,
    image_shape: tuple[int, ...],
    progress: Progress = silent,
    *,
    image_dtype: Any = None,
) -> IntegerProgram:
    """Turns a network built of this library's quantizers into an integer program.

    Args:
      model: an NNX module, or a pair of a function of (parameters, images) and its parameters.
      image_shape: ``(height, width, channels)``, of which the network's trace depends.
      progress: told about each quantizer.
      image_dtype: of the images; None for the model's own ``image_dtype``, float32 if it has none.

    Returns:
      The program. Its ``unfolded`` says which quantizers keep their float arithmetic, and why.

    Raises:
      TypeError: if ``model`` is no model.
      ValueError: if the network has no product of codes, a parameter is not finite, or integer
        arithmetic could overflow.
    """
    traced, parameters = trace_model(model, image_shape, image_dtype)
    return build(traced, traced.constants(parameters), progress)


def build(traced: TracedModel, constants: Constants, progress: Progress = silent) -> IntegerProgram:
    """Reads off the thresholds of a traced network, as :func:`build_program` does.

    Args:
      traced: the network.
      constants: what it computes from its parameters.
      progress: told about each quantizer.

    Returns:
      The program.
    """
    network = traced.at_sampling_batch()
    if not network.products:
        raise ValueError("model has no quantized layer: there is nothing to export.")
    if network.overflows:
        raise ValueError(f"model must not overflow; {network.overflows[0]}.")
    thresholds: dict[str, Thresholds] = {}
    unfolded: dict[str, str] = {}
    for i, quantizer in enumerate(network.quantizers):
        progress("Reading off thresholds", i, len(network.quantizers))
        if quantizer.source is None:
            unfolded[quantizer.name] = str(quantizer.reason)
            continue
        try:
            thresholds[quantizer.name] = fold(
                compile_chain(network, quantizer, constants), quantizer.max_code
            )
        except CannotFold as error:
            unfolded[quantizer.name] = str(error)
    progress("Reading off thresholds", len(network.quantizers), len(network.quantizers))
    _, used = network.live(thresholds)
    tensors = {name: np.asarray(constants[name]) for name in used}
    return IntegerProgram(traced, tensors, thresholds, unfolded)
