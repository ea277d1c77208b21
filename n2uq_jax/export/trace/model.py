"""A model, traced once for each batch size, for everybody who needs the trace."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from n2uq_jax.export.trace.constants import Constants, Names, check_finite, compute_constants
from n2uq_jax.export.trace.network import TracedNetwork
from n2uq_jax.export.trace.reference import Function, Model, Parameters, evaluation_function
from n2uq_jax.export.trace.tracing import trace


@functools.cache
def any_batch() -> Any:
    """Returns the symbolic batch size, the same one for every trace and every format."""
    from jax import export

    (batch,) = export.symbolic_shape("batch")
    return batch


@dataclasses.dataclass(frozen=True, eq=False)
class TracedModel:
    """The evaluation of a model, and its traces.

    Args:
      function: the network, ``function(parameters, images)``.
      parameters: shapes and dtypes of its parameters. Their values are not kept.
      image_shape: ``(height, width, channels)``.
      image_dtype: float32, or uint8 for an integer-only network.
      integers: weight codes and other integer constants by name.
    """

    function: Function
    parameters: Mapping[str, jax.ShapeDtypeStruct]
    image_shape: tuple[int, ...]
    image_dtype: np.dtype
    integers: Mapping[str, np.ndarray]
    _traces: dict[Any, TracedNetwork] = dataclasses.field(default_factory=dict, repr=False)

    def at(self, batch: Any) -> TracedNetwork:
        """Returns the trace for a batch size, which may be :func:`any_batch`.

        Args:
          batch: number of images, or a symbolic dimension.
        """
        if batch not in self._traces:
            graph = trace(self.function, self.parameters, self.images(batch))
            self._traces[batch] = TracedNetwork(graph, self.integers)
        return self._traces[batch]

    def images(self, batch: Any) -> jax.ShapeDtypeStruct:
        """Returns the shape and dtype of a batch of images."""
        return jax.ShapeDtypeStruct((batch, *self.image_shape), self.image_dtype)

    def at_sampling_batch(self) -> TracedNetwork:
        """Returns the trace at the batch size at which chains are sampled.

        The chains are compiled on arrays of the network's own shapes, so the batch is what sets
        how many integers one call evaluates: about a thousand in the smallest layer, unless the
        largest would become huge.
        """
        shapes = [q.source.value.shape for q in self.at(1).quantizers if q.source is not None]
        smallest = min((math.prod(shape[:-1]) for shape in shapes), default=1)
        largest = max((math.prod(shape) for shape in shapes), default=1)
        return self.at(max(1, min(-(-1024 // smallest), 2**23 // largest)))

    def constants(self, parameters: Parameters) -> Constants:
        """Computes what the network computes from its parameters alone, compiled anew.

        Args:
          parameters: arrays by name.

        Returns:
          Arrays by name, for every constant that the network reads.
        """
        graph = self.at(1).graph
        return compute_constants(graph, Names(graph), parameters)


def trace_model(
    model: Model, image_shape: tuple[int, ...], image_dtype: Any = None
) -> tuple[TracedModel, Parameters]:
    """Traces the evaluation of a model.

    Args:
      model: an NNX module, or a pair of a function of (parameters, images) and its parameters.
      image_shape: ``(height, width, channels)``.
      image_dtype: of the images; None for the model's own ``image_dtype``, float32 if it has none.

    Returns:
      The traced model, and its parameters in float32.

    Raises:
      TypeError: if ``model`` is no model.
      ValueError: if ``image_shape`` or ``image_dtype`` is none, a parameter is not finite, or
        weight codes are not integers.
    """
    image_shape = tuple(image_shape)
    if not image_shape or any(not isinstance(d, int | np.integer) or d < 1 for d in image_shape):
        raise ValueError(f"image_shape must be positive integers, got {image_shape}.")
    if image_dtype is None:
        image_dtype = getattr(model, "image_dtype", np.float32)
    if np.dtype(image_dtype) not in (np.float32, np.uint8):
        raise ValueError(f"images must be float32 or uint8, got {np.dtype(image_dtype)}.")
    function, parameters = evaluation_function(model)
    images = jax.ShapeDtypeStruct((1, *image_shape), np.dtype(image_dtype))
    graph = trace(function, parameters, images)
    read = {v for op in graph.ops for v in op.inputs}
    check_finite(parameters, [name for name, v in graph.parameters.items() if v in read])
    names = Names(graph)
    constants = compute_constants(graph, names, parameters)
    integers = {
        name: np.asarray(array)
        for name, array in constants.items()
        if np.issubdtype(array.dtype, np.integer)
    }
    shapes = {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in parameters.items()}
    traced = TracedModel(function, shapes, image_shape, np.dtype(image_dtype), integers)
    traced._traces[1] = TracedNetwork(graph, integers)
    return traced, parameters


def trace_structure(model: Model, image_shape: tuple[int, ...]) -> TracedNetwork:
    """Traces the evaluation of a model without computing anything from its parameters.

    What each quantizer reads, and so whether it can become integer thresholds, is in the structure.
    Ranges of sums are not: every weight counts as 0.

    Args:
      model: as for :func:`trace_model`; a module of ``nnx.eval_shape`` will do.
      image_shape: ``(height, width, channels)``.

    Returns:
      The trace at a batch of one image.
    """
    function, parameters = evaluation_function(model)
    dtype = np.dtype(getattr(model, "image_dtype", np.float32))
    shapes = {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in parameters.items()}
    graph = trace(function, shapes, jax.ShapeDtypeStruct((1, *image_shape), dtype))
    names = Names(graph)
    weights = {op.inputs[1] for op in names.products}
    return TracedNetwork(
        graph,
        {
            name: np.zeros(value.shape, np.int8 if value in weights else value.aval.dtype)
            for name, value in names.constants.items()
            if value in weights or np.issubdtype(value.aval.dtype, np.integer)
        },
    )
