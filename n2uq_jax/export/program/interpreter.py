"""Walks through a program and says of each operation how it is to be computed."""

import abc
from collections.abc import Collection

from n2uq_jax.export.trace.graph import Op
from n2uq_jax.export.trace.network import Product, Quantizer, TracedNetwork


class Interpreter(abc.ABC):
    """The four kinds of step that an integer program has, in whatever form they are carried out.

    Args:
      network: the network's trace.
      folded: names of the quantizers whose codes are integer thresholds of an accumulator.
    """

    def __init__(self, network: TracedNetwork, folded: Collection[str]):
        self.network = network
        self.ops, self.constants = network.live(folded)
        self._folded = {q.op: q for q in network.quantizers if q.name in folded}
        self._products = {p.op: p for p in network.products if p.codes is not None}

    @property
    def folded_quantizers(self) -> list[Quantizer]:
        """The quantizers whose codes are integer thresholds."""
        return list(self._folded.values())

    def walk(self) -> None:
        """Carries out every step, in order."""
        for op in self.ops:
            if op in self._folded:
                quantizer = self._folded[op]
                assert quantizer.product is not None
                self.apply_thresholds(quantizer, quantizer.product)
            elif op in self._products:
                self.multiply(self._products[op])
            elif op.outputs[0] in self.network.ranges and not op.is_quantizer:
                self.move(op)
            else:
                self.compute(op)

    @abc.abstractmethod
    def apply_thresholds(self, quantizer: Quantizer, product: Product) -> None:
        """Turns the accumulators of a product into the codes of a folded quantizer."""

    @abc.abstractmethod
    def multiply(self, product: Product) -> None:
        """Multiplies integer codes."""

    @abc.abstractmethod
    def move(self, op: Op) -> None:
        """Carries out an operation that keeps integers exact, on integers."""

    @abc.abstractmethod
    def compute(self, op: Op) -> None:
        """Carries out the network's own float arithmetic."""
