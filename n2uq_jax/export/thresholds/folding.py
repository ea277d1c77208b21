"""Integer thresholds, read off the network's own float arithmetic."""

import numpy as np

from n2uq_jax.export.thresholds.chain import Chain
from n2uq_jax.export.thresholds.thresholds import Thresholds, from_changes

MAX_ENUMERATED = 2**22
"""A wider range of accumulators is searched by bisection instead of being enumerated."""

MAX_CHANGES = 4
"""A channel whose codes change more often than this times the largest code stays float."""


class CannotFold(Exception):
    """A quantizer has to keep its float arithmetic; the message says why."""


def fold(chain: Chain, max_code: int) -> Thresholds:
    """Reads off the thresholds of every channel of a quantizer.

    Every accumulator in the range is evaluated, and each place where the code changes is noted.
    There is no algebra in this and no assumption about the arithmetic: a channel may increase,
    decrease, be constant, or do both. A range of more than :data:`MAX_ENUMERATED` accumulators is
    searched by bisection instead, if every channel is monotone for certain.

    Args:
      chain: the network's arithmetic.
      max_code: the largest code.

    Returns:
      Thresholds that give the chain's code for every accumulator in the range.

    Raises:
      CannotFold: if the codes of a channel change too often, or the range is too wide for
        enumeration and a channel is not monotone for certain.
      ValueError: if a code is NaN.
    """
    if chain.span > MAX_ENUMERATED:
        return _bisect(chain, max_code)
    channel, point, step = [], [], []
    first = last = None
    for accumulators, codes in chain.enumerate():
        if first is None or last is None:
            first = codes[0]
            before = np.concatenate([codes[:1], codes[:-1]])
        else:
            before = np.concatenate([last, codes[:-1]])
        last = codes[-1:]
        rows, columns = np.nonzero(codes != before)
        channel.append(columns)
        point.append(accumulators[rows, columns].astype(np.int64) - 1)
        step.append(codes[rows, columns].astype(np.int64) - before[rows, columns])
    assert first is not None
    channels, points, steps = (np.concatenate(a) for a in (channel, point, step))
    count = np.bincount(channels, minlength=len(first))
    if count.max() > MAX_CHANGES * max_code:
        raise CannotFold(f"the codes of channel {count.argmax()} change {count.max()} times")
    order = np.argsort(channels, kind="stable")
    ends = np.cumsum(count)[:-1]
    changes = zip(np.split(points[order], ends), np.split(steps[order], ends), strict=True)
    return from_changes(first, list(changes), max_code, chain.low, chain.high)


def _bisect(chain: Chain, max_code: int) -> Thresholds:
    unknown = np.flatnonzero(np.isnan(chain.directions()))
    if len(unknown):
        raise CannotFold(
            f"the range of {chain.span:,} accumulators is too wide to enumerate, and channel "
            f"{unknown[0]} is not monotone for certain"
        )
    ends = chain.at(np.stack([chain.low, chain.high]))
    falls = ends[0] > ends[1]
    # The largest accumulator at which the code has not reached level k yet, or has not left it:
    # it is at least `left`, and `right` is beyond it.
    level = np.arange(1, max_code + 1)[:, None]
    left = np.broadcast_to(chain.low - 1, (max_code, len(falls)))
    right = np.broadcast_to(chain.high + 1, left.shape)
    while (right - left > 1).any():
        middle = (left + right) // 2
        inside = np.clip(middle, chain.low, chain.high)
        before = (chain.at(inside) < level) != falls
        searching = right - left > 1
        left, right = (
            np.where(searching & before, middle, left),
            np.where(searching & ~before, middle, right),
        )
    points = np.where(falls, left[::-1], left).T
    steps = np.where(falls, -1, 1)[:, None].repeat(max_code, 1)
    base = np.where(falls, max_code, 0)
    return Thresholds(
        points.astype(np.int32),
        steps.astype(np.int16),
        base.astype(np.int16),
        max_code,
    )
