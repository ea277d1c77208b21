"""A table of a network's layers: bits, what they read, what export makes of that, bytes, cost."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from flax import nnx

from n2uq_jax.export.trace.model import trace_structure
from n2uq_jax.export.trace.network import TracedNetwork
from n2uq_jax.export.trace.products import Product
from n2uq_jax.export.trace.quantizer import Quantizer
from n2uq_jax.report.cost import FLOAT_BITS, LayerCost, cost
from n2uq_jax.report.size import model_bytes
from n2uq_jax.tables import format_table


@dataclasses.dataclass(frozen=True)
class LayerCheck:
    """One layer.

    Args:
      cost: its path, shapes, bits and multiply-accumulates.
      inputs: what it reads, such as ``"2-bit codes"``, ``"float"`` or ``"integers -78..177"``.
      folds: whether the quantizer of its inputs becomes integer thresholds; None if it has none.
      why: why not; empty if it does.
    """

    cost: LayerCost
    inputs: str
    folds: bool | None
    why: str

    @property
    def bytes(self) -> int:
        """Of the weights, packed at their bit width."""
        return (self.cost.weights * self.cost.w_bits + 7) // 8

    @property
    def becomes(self) -> str:
        """What export makes of the inputs, in words."""
        if self.folds is None:
            return "float: no quantizer" if self.inputs == "float" else "integers"
        return "integer thresholds" if self.folds else f"float: {self.why}"


@dataclasses.dataclass(frozen=True)
class NetworkCheck:
    """A network's layers; prints as a table.

    Args:
      layers: in the order of evaluation.
      bytes: of all that evaluation reads, weights packed at their bit width.
    """

    layers: tuple[LayerCheck, ...]
    bytes: int

    def __str__(self) -> str:
        header = ("layer", "weights", "inputs", "in export", "bytes", "MMAC")
        rows = [_row(layer) for layer in self.layers]
        total = f"{self.bytes:,}", f"{sum(layer.cost.macs for layer in self.layers) / 1e6:.2f}"
        return format_table([header, *rows, ("in all", "", "", "", *total)], right=(4, 5))


def check(model: nnx.Module, image_shape: Sequence[int]) -> NetworkCheck:
    """Says of every layer how many bits it has, what it reads, and what export will make of that.

    Nothing is computed and nothing compiled: the network is traced, which takes about a second.
    What depends on trained values is left to the export, which may keep a quantizer in float
    whose codes change too often.

    Args:
      model: any NNX module; an abstract one of ``nnx.eval_shape`` will do.
      image_shape: ``(height, width, channels)``, or the shape of whatever one input is.

    Returns:
      The layers, which print as a table.

    Raises:
      TypeError: or ValueError, of the layer that does not take such an input.

    Example:
      >>> from flax import nnx
      >>> import n2uq_jax as n2uq
      >>> model = n2uq.models.create("resnet8", w_bits=2, a_bits=2, rngs=nnx.Rngs(0))
      >>> [layer.inputs for layer in n2uq.check(model, (32, 32, 3)).layers[:2]]
      ['float', '2-bit codes']
    """
    dtype = getattr(model, "image_dtype", np.float32)
    costs = cost(model, image_shape, dtype).layers
    network = trace_structure(model, tuple(image_shape))
    products = {product.name: product for product in network.products}
    readers = _readers(network)
    layers = tuple(_layer(one, products.get(one.path), readers) for one in costs)
    return NetworkCheck(layers, model_bytes(model))


def _readers(network: TracedNetwork) -> dict[str, Quantizer]:
    """Returns the quantizer of each product's inputs, by the product's name."""
    by_codes = {quantizer.codes: quantizer for quantizer in network.quantizers}
    found = {}
    for product in network.products:
        value = product.op.inputs[0]
        while value not in by_codes:
            op = network.graph.producer.get(value)
            if op is None or op.primitive is None:
                break
            data = [v for v in op.inputs if v in network.graph.from_data]
            if len(data) != 1:
                break
            (value,) = data
        if value in by_codes:
            found[product.name] = by_codes[value]
    return found


def _layer(
    layer: LayerCost, product: Product | None, readers: Mapping[str, Quantizer]
) -> LayerCheck:
    if product is None or product.codes is None:
        return LayerCheck(layer, "float", None, "")
    quantizer = readers.get(product.name)
    if quantizer is None:
        low, high = int(product.codes.low.min()), int(product.codes.high.max())
        known = low < high and product.codes.is_known
        return LayerCheck(layer, f"integers {low}..{high}" if known else "integers", None, "")
    bits = quantizer.max_code.bit_length()
    signed = "signed " if int(product.codes.low.min()) < 0 else ""
    folds = quantizer.source is not None
    return LayerCheck(layer, f"{signed}{bits}-bit codes", folds, quantizer.reason or "")


def _row(layer: LayerCheck) -> tuple[str, ...]:
    bits = layer.cost.w_bits
    return (
        layer.cost.path or "a product of activations",
        "float" if bits == FLOAT_BITS else f"{bits} bits",
        layer.inputs,
        layer.becomes,
        f"{layer.bytes:,}",
        f"{layer.cost.macs / 1e6:.2f}",
    )
