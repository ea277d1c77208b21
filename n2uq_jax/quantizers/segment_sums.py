"""Sums over the segments of a piecewise-linear curve, as the activation quantizer's backward needs.

A sum for each of N segments over all elements of an array: written plainly, N masks as large as
the array. So the array is cut into blocks whose masks stay in a processor's cache.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

from n2uq_jax.quantizers.qarray import scaled
from n2uq_jax.shapes import Array, Float


def segment_sums(
    x: Float[Array, "*shape"],
    g: Float[Array, "*shape"],
    knots: Float[Array, "knots *channels"],
    in_scale: Float[Array, "*#channels"],
) -> tuple[
    Float[Array, "knots-1 *channels"], Float[Array, "knots-1 *channels"], Float[Array, "*channels"]
]:
    r"""Sums ``g`` and ``g (u - d_{i-1})`` over each segment, and ``g x``, in one pass.

    With :math:`u = \beta_1 x` and the segments :math:`d_{i-1} < u \le d_i`,

    .. math::
      S^0_i = \sum_{u \in i} g, \qquad S^1_i = \sum_{u \in i} g\,(u - d_{i-1}), \qquad
      G = \sum_{x\ \text{finite}} g\,x

    Args:
      x: float array, shape ``(..., channels)``.
      g: the gradient, of ``x``'s shape, float32 or wider.
      knots: :math:`d_0 .. d_N`, shape ``(N + 1,)``, or ``(N + 1, channels)`` for sums per channel.
      in_scale: :math:`\beta_1`, shape ``()`` or ``(channels,)``.

    Returns:
      :math:`S^0` and :math:`S^1` of shape ``(N,)`` or ``(N, channels)``, and :math:`G` of shape
      ``()`` or ``(channels,)``.
    """
    segments, per_channel = knots.shape[0] - 1, knots.ndim == 2
    batch, rows, lanes = blocked_shape(x.shape, segments, per_channel)
    # In two steps: of an array on an explicit mesh only the unsharded axes may be rearranged.
    flat = (*x.shape[:1], math.prod(x.shape[1:]))
    x, g = (v.reshape(flat).reshape(batch, rows, lanes) for v in (x, g))
    left, right = (v.reshape(1, segments, 1, -1) for v in (knots[:-1], knots[1:]))

    def sums(x, g):
        u = scaled(x, in_scale)
        # Masked before multiplying: an infinity outside the knots must not make a NaN.
        inside = (u[:, None] > left) & (u[:, None] <= right)
        g_inside = jnp.where(inside, g[:, None], 0)
        offset = jnp.where(inside, u[:, None] - left, 0)
        finite = jnp.where(jnp.isfinite(x), x, 0).astype(g.dtype)
        return g_inside.sum(2), (g_inside * offset).sum(2), (g * finite).sum(1)

    def blockwise(x, g):
        step = _block_rows(batch, rows, lanes, segments)

        def add(i, total):
            block = [lax.dynamic_slice_in_dim(v, i * step, step, axis=1) for v in (x, g)]
            return jax.tree.map(jnp.add, total, sums(*block))

        # Sums over no rows: zeros of the right shapes, also in the manual axes of a shard_map.
        return lax.fori_loop(0, rows // step, add, sums(x[:, :0], g[:, :0]))

    # A CPU writes the masks out, so they must stay in its cache; accelerators fuse them away.
    totals = lax.platform_dependent(x, g, cpu=blockwise if rows else sums, default=sums)
    s0, s1, gx = (total.sum((0,) if per_channel else (0, -1)) for total in totals)
    return s0, s1, gx


def blocked_shape(shape: tuple[int, ...], segments: int, per_channel: bool) -> tuple[int, int, int]:
    """Splits an array into (batch, rows, lanes) such that partial sums stay small beside it.

    The batch axis comes first and is not summed block by block, so an array that is sharded over
    its batch is summed where it lies, with one all-reduce at the end.

    Args:
      shape: of the array.
      segments: number of sums.
      per_channel: whether each channel, on the last axis, has sums of its own.

    Returns:
      Three sizes, whose product is the array's; ``batch`` divides its first axis.
    """
    size = math.prod(shape)
    if size == 0:
        return 1, 0, shape[-1] if per_channel else 1
    leading = shape[0] if len(shape) > 1 else 1
    if per_channel:
        lanes = shape[-1]
    else:
        # Few enough to keep the whole batch axis, yet enough for vector instructions.
        at_most = min(128, max(8, size // (leading * 4 * segments)), max(1, size // (4 * segments)))
        lanes = _largest_divisor(size // leading, at_most)
    batch = _largest_divisor(leading, max(1, size // (4 * segments * lanes)))
    return batch, size // (batch * lanes), lanes


def _block_rows(batch: int, rows: int, lanes: int, segments: int) -> int:
    budget = min(batch * rows * lanes // 8, 2**19) // (batch * lanes * segments)
    return _largest_divisor(rows, max(1, budget))


@functools.lru_cache
def _largest_divisor(n: int, at_most: int) -> int:
    return next((k for k in range(min(n, at_most), 0, -1) if n % k == 0), 1)
