"""Every threshold against the network's own arithmetic, on every integer that can occur."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from n2uq_jax.export.thresholds.chain import Chain, compile_chain
from n2uq_jax.export.thresholds.folding import MAX_ENUMERATED
from n2uq_jax.export.thresholds.thresholds import Thresholds
from n2uq_jax.export.trace.constants import Constants
from n2uq_jax.export.trace.network import TracedNetwork
from n2uq_jax.progress import Progress, silent


@dataclasses.dataclass(frozen=True)
class EdgeProof:
    """One quantizer's thresholds against the network's float arithmetic.

    Args:
      quantizer: its name.
      source: the layer whose integers it reads.
      low: the smallest integer of any channel.
      high: the largest.
      method: ``"enumeration"`` of every integer; or ``"bisection"``, where the range is too
        wide for that and the chain is monotone for certain, so that both sides of every threshold
        decide.
      values: how many integers were compared, over all channels.
      differing: how many of them have another code in the network.
      channels: number of channels of each kind.
    """

    quantizer: str
    source: str
    low: int
    high: int
    method: str
    values: int
    differing: int
    channels: dict[str, int]


def prove_edges(
    thresholds: Mapping[str, Thresholds],
    network: TracedNetwork,
    constants: Constants,
    progress: Progress = silent,
) -> Iterator[EdgeProof]:
    """Compares the thresholds of every folded quantizer, through chains that are compiled anew.

    Args:
      thresholds: to be proven, by quantizer.
      network: the network's trace.
      constants: what it computes from its parameters.
      progress: told about each quantizer.

    Yields:
      What was compared, and how much of it differs.
    """
    quantizers = [q for q in network.quantizers if q.name in thresholds]
    for i, quantizer in enumerate(quantizers):
        progress("Comparing every accumulator", i, len(quantizers))
        assert quantizer.source is not None
        chain = compile_chain(network, quantizer, constants)
        read_off = thresholds[quantizer.name]
        enumerated = chain.span <= MAX_ENUMERATED
        kinds = read_off.kinds(chain.low, chain.high)
        yield EdgeProof(
            quantizer=quantizer.name,
            source=quantizer.source.name,
            low=int(chain.low.min()),
            high=int(chain.high.max()),
            method="enumeration" if enumerated else "bisection",
            values=chain.values if enumerated else _around_points(chain, read_off).size,
            differing=count_differing(chain, read_off),
            channels=dict(Counter(kinds.tolist())),
        )
    progress("Comparing every accumulator", len(quantizers), len(quantizers))


def count_differing(chain: Chain, thresholds: Thresholds) -> int:
    """Counts the integers at which thresholds and the network's arithmetic disagree.

    Args:
      chain: the network's arithmetic.
      thresholds: of the same quantizer.

    Returns:
      The number, over all channels; a channel with a narrow range may count its last integer more
      than once.
    """
    if chain.span > MAX_ENUMERATED:
        integers = _around_points(chain, thresholds)
        return int(_count(thresholds, integers, chain.at(integers)))
    return sum(int(_count(thresholds, integers, codes)) for integers, codes in chain.enumerate())


def _around_points(chain: Chain, thresholds: Thresholds) -> np.ndarray:
    """Returns both sides of every threshold, and the ends of the range.

    They decide about everything in between where the chain is monotone for certain.
    """
    points = thresholds.points.T.astype(np.int64)
    around = np.concatenate([points, points + 1, chain.low[None], chain.high[None]])
    return np.clip(around, chain.low, chain.high).astype(np.int32)


@jax.jit
def _count(thresholds: Thresholds, integers: jax.Array, codes: jax.Array) -> jax.Array:
    return jnp.sum(thresholds(integers) != codes.astype(jnp.int32))
