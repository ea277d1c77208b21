"""Weights of products, stored in as few bits as ONNX has types for."""

import ml_dtypes
import numpy as np
from onnx import helper

from n2uq_jax.export.formats.onnx.graph import OnnxGraph


def add_weights(graph: OnnxGraph, weight: np.ndarray, hint: str) -> str:
    r"""Adds weights as a tensor of bytes.

    They are written as :math:`w = g\,m + w_0` with the smallest weight :math:`w_0` and the largest
    step :math:`g`, so that the codes :math:`\pm 1, \pm 3` of 2 bits are the :math:`m` of a UINT2,
    and those of 4 bits of a UINT4. A runtime that folds constants undoes that when it loads the
    model.

    Args:
      graph: to add to.
      weight: int8 or uint8.
      hint: how the constant's name begins.

    Returns:
      The name of a tensor of the dtype and shape of ``weight``.
    """
    low = int(weight.min())
    above = weight.astype(int) - low
    step = max(1, int(np.gcd.reduce(above, axis=None)))
    codes = above // step
    stored = _narrowest(int(codes.max()))
    if stored is None or int(above.max()) > np.iinfo(weight.dtype).max:
        return graph.constant(weight, hint)
    packed = graph.constant(codes.astype(stored), hint)
    x = graph.cast(packed, helper.np_dtype_to_tensor_dtype(weight.dtype))
    if step != 1:
        x = graph.node("Mul", [x, graph.constant(np.asarray(step, weight.dtype))])
    return graph.node("Add", [x, graph.constant(np.asarray(low, weight.dtype))])


def _narrowest(largest: int) -> type | None:
    if largest < 4:
        return ml_dtypes.uint2
    return ml_dtypes.uint4 if largest < 16 else None
