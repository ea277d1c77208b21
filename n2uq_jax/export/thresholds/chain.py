"""The network's own arithmetic from an integer accumulator to codes, as a function to sample."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from n2uq_jax.export.thresholds.monotone import directions
from n2uq_jax.export.trace.graph import evaluate
from n2uq_jax.export.trace.network import TracedNetwork
from n2uq_jax.export.trace.quantizer import Quantizer


@dataclasses.dataclass(frozen=True)
class Chain:
    """The float arithmetic between the accumulators of a product and the codes of a quantizer.

    It is compiled as in the network: on arrays of the same shapes, with parameters as arguments,
    between optimization barriers.

    Args:
      name: of the quantizer.
      codes: ``codes(accumulators)`` maps an int32 array of shape ``(size, channels)`` to int16
        codes of the same shape; -1 stands for NaN.
      size: how many accumulators a channel one call evaluates.
      low: smallest accumulator, int64, shape ``(channels,)``.
      high: largest accumulator, int64, shape ``(channels,)``.
      directions: :func:`~n2uq_jax.export.thresholds.monotone.directions` of the chain.
    """

    name: str
    codes: Callable[[np.ndarray], np.ndarray]
    size: int
    low: np.ndarray
    high: np.ndarray
    directions: Callable[[], np.ndarray]

    @property
    def span(self) -> int:
        """Number of accumulators in the widest range of a channel."""
        return int((self.high - self.low).max()) + 1

    @property
    def values(self) -> int:
        """Number of accumulators in the ranges of all channels together."""
        return int((self.high - self.low + 1).sum())

    def enumerate(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Evaluates every accumulator of every channel.

        Yields:
          Consecutive accumulators, int32 of shape ``(size, channels)``, and their codes. Channels
          with a narrower range than others repeat their last accumulator.

        Raises:
          ValueError: if a code is NaN.
        """
        low, high = self.low.astype(np.int32), self.high.astype(np.int32)
        offsets = np.arange(self.size, dtype=np.int32)[:, None]
        for start in range(0, self.span, self.size):
            # From the offset first: low + start could exceed an int32 of a narrow channel.
            accumulators = low + np.minimum(offsets + np.int32(start), high - low)
            yield accumulators, self._checked(self.codes(accumulators))

    def at(self, accumulators: np.ndarray) -> np.ndarray:
        """Evaluates some accumulators of every channel.

        Args:
          accumulators: int64, shape ``(n, channels)``, within the range.

        Returns:
          Codes of the same shape.

        Raises:
          ValueError: if a code is NaN.
        """
        n = len(accumulators)
        rows = np.resize(accumulators, (-(-n // self.size) * self.size, accumulators.shape[1]))
        parts = np.split(rows.astype(np.int32), len(rows) // self.size)
        return self._checked(np.concatenate([self.codes(part) for part in parts])[:n])

    def _checked(self, codes: np.ndarray) -> np.ndarray:
        if codes.min() < 0:
            raise ValueError(
                f"{self.name} has NaN codes: a parameter in front of it is not finite."
            )
        return codes


def compile_chain(
    network: TracedNetwork, quantizer: Quantizer, constants: Mapping[str, Any]
) -> Chain:
    """Compiles the arithmetic in front of a quantizer.

    Args:
      network: a trace with concrete shapes.
      quantizer: one that has a source.
      constants: arrays of parameters, and of what the network computes from them between barriers,
        by name.

    Returns:
      The chain, which is compiled on first use.
    """
    source = quantizer.source
    assert source is not None
    value = source.value
    given = {network.constants[name]: array for name, array in constants.items()}
    ops = network.graph.ancestors([quantizer.codes], stop={value, *given})
    used = [v for v in dict.fromkeys(v for op in ops for v in op.inputs) if v in given]
    size = math.prod(value.shape[:-1])

    @jax.jit
    def run(arrays: list[jax.Array], accumulators: jax.Array) -> jax.Array:
        integers = accumulators.astype(value.aval.dtype).reshape(value.shape)
        env = {value: lax.optimization_barrier(integers), **dict(zip(used, arrays, strict=True))}
        evaluate(ops, env, isolated=network.shared)
        codes = env[quantizer.codes].reshape(size, -1)
        return jnp.where(jnp.isnan(codes), -1, codes).astype(jnp.int16)

    arrays = [given[v] for v in used]
    return Chain(
        name=quantizer.name,
        codes=lambda accumulators: np.asarray(run(arrays, accumulators)),
        size=size,
        low=source.low,
        high=source.high,
        directions=lambda: directions(network.graph, quantizer, given),
    )
