"""Max-pools in front of the arithmetic whose results they pool.

A BatchNorm on the integers of a first convolution is a rising or a falling function of each, so the
largest result of a window comes from its largest or smallest integer: pooled first, a quarter of
the integers is left to compute with.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from n2uq_jax.export.program.interpreter import Steps
from n2uq_jax.export.trace.graph import Op, Value
from n2uq_jax.export.trace.ranges import exact
from n2uq_jax.primitives import IDENTITIES

_OPERANDS = {
    # monotone operations: at which places they may have the data.
    **dict.fromkeys((*IDENTITIES, "convert_element_type", "shift_right_arithmetic"), (0,)),
    **dict.fromkeys(("add", "max", "min", "mul"), (0, 1)),
    "clamp": (1,),
    "neg": (0,),
    "sub": (0,),
}


@dataclasses.dataclass(frozen=True, eq=False)
class PooledChain:
    """Operations between the sums of a product and a max-pool, which nothing else reads.

    Args:
      start: the sums.
      ops: monotone in each integer, in order.
      pool: the max-pool.
    """

    start: Value
    ops: list[Op]
    pool: Op

    def signs(self, arrays: Mapping[Value, np.ndarray]) -> np.ndarray | None:
        """Returns for each channel 1 if its results rise with the sums, -1 if they fall.

        Args:
          arrays: the constants that the operations read.

        Returns:
          Shape ``(channels,)``; None if an operation treats positions differently.
        """
        channels = self.start.shape[-1]
        signs = np.ones(channels, np.int32)
        for op in self.ops:
            for value in op.inputs:
                if value not in arrays and value.constant is None:
                    continue
                array = np.asarray(arrays[value] if value.constant is None else value.constant)
                if array.size != 1 and (array.size, array.shape[-1]) != (channels, channels):
                    return None
                if op.name == "mul":
                    signs = signs * np.where(array.reshape(-1) < 0, -1, 1)
            if op.name == "neg":
                signs = -signs
        return signs.astype(np.int32)


def pooled_chains(steps: Steps) -> list[PooledChain]:
    """Finds the max-pools that may come first.

    Args:
      steps: of a program.

    Returns:
      Those whose input comes from the sums of a product by monotone operations alone.
    """
    network = steps.network
    readers = {value: len(ops) for value, ops in steps.readers().items()}
    for value in network.graph.outputs:
        readers[value] = readers.get(value, 0) + 1
    sums = {product.accumulator for product in network.products}
    chains = []
    for pool in steps.ops:
        if pool.name != "reduce_window_max" or not network.on_integers(pool):
            continue
        value = pool.inputs[0]
        ops: list[Op] = []
        while readers[value] == 1 and value not in sums:
            op = network.graph.producer.get(value)
            data = [] if op is None else _data(op, network.graph.from_data)
            if op is None or len(data) != 1 or data[0].shape != value.shape:
                break
            ops.insert(0, op)
            (value,) = data
        else:
            held = network.ranges[value].within(exact(np.dtype(np.float32)))
            if readers[value] == 1 and ops and held:
                chains.append(PooledChain(value, ops, pool))
    return chains


def _data(op: Op, from_data) -> list[Value]:
    """Returns the operands on the images of a monotone operation; none if it is another."""
    places = [i for i, v in enumerate(op.inputs) if v in from_data]
    allowed = op.primitive is not None and set(places) <= set(_OPERANDS.get(op.name, ()))
    return [op.inputs[i] for i in places] if allowed else []
