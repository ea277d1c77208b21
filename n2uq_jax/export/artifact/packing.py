"""Integer weight codes, packed at their bit width."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Packing:
    r"""How codes lie in bytes.

    Each code is :math:`\text{offset} + \text{step} \cdot m` with an unsigned number ``m`` of
    ``bits`` bits. The numbers follow each other without gaps, least significant bit first, in the
    codes' row-major order.

    Args:
      bits: of a number.
      offset: the code of number 0.
      step: between codes: 2 for odd integers, else 1.
      shape: of the codes.
    """

    bits: int
    offset: int
    step: int
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Length of the packed codes."""
        return -(-math.prod(self.shape) * self.bits // 8)


def pack(codes: np.ndarray) -> tuple[np.ndarray, Packing]:
    """Packs integers at the smallest bit width that holds them.

    Args:
      codes: of an integer dtype, any shape.

    Returns:
      uint8 bytes of shape ``(n,)``, and what :func:`unpack` needs to know.

    Raises:
      TypeError: if ``codes`` are not integers.
    """
    if not np.issubdtype(codes.dtype, np.integer):
        raise TypeError(f"codes must be of an integer dtype, got {codes.dtype}.")
    flat = codes.astype(np.int64).ravel()
    if (flat % 2 == 1).all():
        bits = int(np.abs(flat).max(initial=1)).bit_length()
        packing = Packing(bits, 1 - 2**bits, 2, codes.shape)
    else:
        low = int(flat.min())
        packing = Packing(max(1, int(flat.max() - low).bit_length()), low, 1, codes.shape)
    numbers = (flat - packing.offset) // packing.step
    bits_of = (numbers[:, None] >> np.arange(packing.bits)) & 1
    return np.packbits(bits_of.astype(np.uint8).ravel(), bitorder="little"), packing


def unpack(packed: Any, packing: Packing) -> jax.Array:
    """Unpacks codes; a pure function of arrays.

    Args:
      packed: uint8, shape ``(packing.bytes,)``.
      packing: as :func:`pack` returned it.

    Returns:
      The codes, int8 or, where they do not fit, int16.
    """
    size, bits = math.prod(packing.shape), packing.bits
    packed = jnp.asarray(packed)
    if 8 % bits == 0:
        shifts = jnp.arange(0, 8, bits, dtype=jnp.uint8)[None]
        numbers = (packed[:, None] >> shifts) & np.uint8(2**bits - 1)
        numbers = numbers.reshape(-1)[:size].astype(jnp.int16)
    else:
        single = (packed[:, None] >> jnp.arange(8, dtype=jnp.uint8)[None]) & np.uint8(1)
        single = single.reshape(-1)[: size * bits].reshape(size, bits).astype(jnp.int16)
        numbers = (single << jnp.arange(bits, dtype=jnp.int16)[None]).sum(1, dtype=jnp.int16)
    codes = packing.offset + packing.step * numbers
    largest = packing.offset + packing.step * (2**bits - 1)
    narrow = max(abs(packing.offset), abs(largest)) <= 127
    return codes.astype(jnp.int8 if narrow else jnp.int16).reshape(packing.shape)
