"""Walks through a program and says of each operation how it is to be computed."""

import abc
from collections.abc import Collection

from n2uq_jax.export.trace.graph import Op, Value
from n2uq_jax.export.trace.network import TracedNetwork
from n2uq_jax.export.trace.products import Product
from n2uq_jax.export.trace.quantizer import Quantizer, Source


class Steps:
    """The operations of an integer program, and what kind of step each is.

    Args:
      network: the network's trace.
      folded: names of the quantizers whose codes are integer thresholds of their source.
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

    @property
    def float_ops(self) -> list[Op]:
        """The operations on images that are left to float arithmetic."""
        return [op for op in self.ops if self._is_on_data(op) and self._is_float(op)]

    def readers(self) -> dict[Value, list[Op]]:
        """Returns the operations that read each value; a folded quantizer reads its source."""
        found: dict[Value, list[Op]] = {}
        for op in self.ops:
            quantizer = self._folded.get(op)
            source = None if quantizer is None else quantizer.source
            for value in dict.fromkeys(op.inputs if source is None else [source.value]):
                found.setdefault(value, []).append(op)
        return found

    def _is_float(self, op: Op) -> bool:
        integer_step = op in self._folded or op in self._products
        return not (integer_step or self.network.on_integers(op))

    def _is_on_data(self, op: Op) -> bool:
        return any(value in self.network.graph.from_data for value in op.outputs)


class Interpreter(Steps, abc.ABC):
    """The four kinds of step that an integer program has, in whatever form they are carried out."""

    def walk(self) -> None:
        """Carries out every step, in order."""
        for op in self.ops:
            if op in self._folded:
                quantizer = self._folded[op]
                assert quantizer.source is not None
                self.apply_thresholds(quantizer, quantizer.source)
            elif op in self._products:
                self.multiply(self._products[op])
            elif self._is_float(op):
                self.compute(op)
            else:
                self.integers(op)

    @abc.abstractmethod
    def apply_thresholds(self, quantizer: Quantizer, source: Source) -> None:
        """Turns the integers of a source into the codes of a folded quantizer."""

    @abc.abstractmethod
    def multiply(self, product: Product) -> None:
        """Multiplies integers and sums."""

    @abc.abstractmethod
    def integers(self, op: Op) -> None:
        """Carries out integer arithmetic, and what moves integers, on integers."""

    @abc.abstractmethod
    def compute(self, op: Op) -> None:
        """Carries out the network's own float arithmetic."""
