"""Weights of a convolution in the order and the bit planes of ``kernels/weights.h``."""

import dataclasses

import numpy as np

LANES = 16


@dataclasses.dataclass(frozen=True)
class Numbers:
    """Weights as numbers: weight = first + step * number.

    Args:
      bits: of a number.
      first: the weight of number 0.
      step: 2 for odd weights, else 1.
    """

    bits: int
    first: int
    step: int

    @property
    def zero(self) -> int | None:
        """The number that stands for weight 0, if one does."""
        return -self.first if self.step == 1 else None


def numbers_of(weight: np.ndarray) -> Numbers:
    """Returns the smallest bit width that holds integer weights, and how.

    Args:
      weight: integers, of any shape.
    """
    integers = weight.astype(int)
    if (integers % 2 == 1).all():
        bits = int(np.abs(integers).max()).bit_length()
        return Numbers(bits, 1 - 2**bits, 2)
    low, high = min(int(integers.min()), 0), max(int(integers.max()), 0)
    return Numbers(max(1, (high - low).bit_length()), low, 1)


def bit_planes(rows: np.ndarray, numbers: Numbers) -> bytes:
    """Cuts weights into bit planes.

    Args:
      rows: weight numbers, shape ``(blocks, inputs, 16)``; the inputs are a multiple of 4.
      numbers: what they mean.

    Returns:
      Blocks one after another, of ``ceil(inputs / 4 * bits / 2)`` rows of 16 bytes each.
    """
    blocks, inputs, lanes = rows.shape
    shifts = np.arange(max(4, numbers.bits), dtype=np.uint8)
    planes = (rows.astype(np.uint8)[:, :, None, :] >> shifts[: numbers.bits, None]) & np.uint8(1)
    planes = planes.reshape(blocks, inputs // 4, 4, numbers.bits, lanes)
    nibbles = (planes << shifts[:4, None, None]).sum(2, dtype=np.uint8).reshape(blocks, -1, lanes)
    if nibbles.shape[1] % 2:
        nibbles = np.pad(nibbles, ((0, 0), (0, 1), (0, 0)))
    return (nibbles[:, ::2] | nibbles[:, 1::2] << np.uint8(4)).tobytes()


def blocks_of(matrix: np.ndarray) -> np.ndarray:
    """Splits the outputs of a matrix into blocks of 16.

    Args:
      matrix: shape ``(groups, inputs, features)``.

    Returns:
      Shape ``(groups * blocks, inputs, 16)``; zeros fill the last block of each group.
    """
    groups, inputs, features = matrix.shape
    padded = np.pad(matrix, ((0, 0), (0, 0), (0, -features % LANES)))
    padded = padded.reshape(groups, inputs, -1, LANES).swapaxes(1, 2)
    return padded.reshape(-1, inputs, LANES)
