"""From a trained network to its integer program."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from n2uq_jax.export.program.program import IntegerProgram
from n2uq_jax.export.progress import Progress, silent
from n2uq_jax.export.thresholds.chain import compile_chain
from n2uq_jax.export.thresholds.folding import CannotFold, fold
from n2uq_jax.export.trace.graph import evaluate
from n2uq_jax.export.trace.network import TracedNetwork
from n2uq_jax.export.trace.reference import Function, Model, Parameters, evaluation_function
from n2uq_jax.export.trace.tracing import trace


def build_program(
    model: Model, image_shape: tuple[int, ...], progress: Progress = silent
) -> IntegerProgram:
    """Turns a network built of this library's quantizers into an integer program.

    Args:
      model: an NNX module, or a pair of a function of (parameters, images) and its parameters.
      image_shape: ``(height, width, channels)``, of which the network's trace depends.
      progress: told about each quantizer.

    Returns:
      The program. Its ``unfolded`` says which quantizers keep their float arithmetic, and why.

    Raises:
      TypeError: if ``model`` is no model.
      ValueError: if the network has no product of codes, or a parameter is not finite.
    """
    function, parameters = evaluation_function(model)
    network = trace_network(function, parameters, image_shape)
    if not network.products:
        raise ValueError("model has no quantized layer: there is nothing to export.")
    constants = compute_constants(network, parameters)
    weights = {p.name: constants[f"{p.name}/weight"] for p in network.products}
    tensors: dict[str, Any] = {}
    folded: dict[str, int] = {}
    unfolded: dict[str, str] = {}
    by_value = {network.constants[name]: array for name, array in constants.items()}
    for i, quantizer in enumerate(network.quantizers):
        progress("Reading off thresholds", i, len(network.quantizers))
        if quantizer.product is None:
            unfolded[quantizer.name] = str(quantizer.reason)
            continue
        chain = compile_chain(network, quantizer, weights[quantizer.product.name], by_value)
        try:
            thresholds = fold(chain, quantizer.levels)
        except CannotFold as error:
            unfolded[quantizer.name] = str(error)
            continue
        folded[quantizer.name] = quantizer.levels
        for key, array in thresholds.arrays.items():
            tensors[f"{quantizer.name}/{key}"] = array
    progress("Reading off thresholds", len(network.quantizers), len(network.quantizers))
    _, used = network.live(folded)
    tensors |= {name: np.asarray(constants[name]) for name in used}
    shapes = {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in parameters.items()}
    return IntegerProgram(function, shapes, tensors, folded, unfolded, tuple(image_shape))


def trace_network(
    function: Function, parameters: Mapping[str, Any], image_shape: tuple[int, ...]
) -> TracedNetwork:
    """Traces a network at the batch size at which its chains are sampled.

    The chains are compiled on arrays of the network's own shapes, so the batch is what sets how
    many accumulators one call evaluates: about a thousand in the smallest layer, unless the
    largest would become huge.

    Args:
      function: ``function(parameters, images)``.
      parameters: arrays or shapes by name.
      image_shape: ``(height, width, channels)``.

    Returns:
      The network.
    """

    def at(batch: int) -> TracedNetwork:
        images = jax.ShapeDtypeStruct((batch, *image_shape), jnp.float32)
        return TracedNetwork(trace(function, parameters, images))

    shapes = [q.product.accumulator.shape for q in at(1).quantizers if q.product is not None]
    smallest = min((math.prod(shape[:-1]) for shape in shapes), default=1)
    largest = max((math.prod(shape) for shape in shapes), default=1)
    return at(max(1, min(-(-1024 // smallest), 2**23 // largest)))


def compute_constants(network: TracedNetwork, parameters: Parameters) -> dict[str, Any]:
    """Computes what a network computes from its parameters alone, between its barriers.

    Args:
      network: the trace.
      parameters: arrays by name.

    Returns:
      Arrays by name, for every constant that the network reads; weight codes as int8 or int16.

    Raises:
      ValueError: if weight codes are not integers.
    """
    _, used = network.live()
    graph = network.graph
    derived = {name: value for name, value in used.items() if name not in graph.parameters}
    ops = graph.ancestors(derived.values())

    @jax.jit
    def compute(parameters):
        env = {graph.parameters[name]: array for name, array in parameters.items()}
        evaluate(ops, env)
        return {name: env[value] for name, value in derived.items()}

    constants = {name: parameters[name] for name in used if name in parameters}
    constants |= compute(parameters)
    for product in network.products:
        name = f"{product.name}/weight"
        if name in constants:
            constants[name] = _as_integers(name, np.asarray(constants[name]))
    return constants


def _as_integers(name: str, codes: np.ndarray) -> np.ndarray:
    if not (np.isfinite(codes).all() and (codes == np.round(codes)).all()):
        raise ValueError(f"{name} must be integer codes; is a parameter not finite?")
    largest = np.abs(codes).max(initial=0)
    return codes.astype(np.int8 if largest <= 127 else np.int16)
