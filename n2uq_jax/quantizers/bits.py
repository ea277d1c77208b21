"""The bit widths that this library knows."""

import numpy as np


def check_bits(name: str, bits: int) -> int:
    """Returns ``bits`` as an int if it is a bit width this library knows.

    Args:
      name: the argument's name, for the message.
      bits: the value to check: an int, or an integer of NumPy.

    Returns:
      ``bits``.

    Raises:
      TypeError: if it is no integer; a bool is none.
      ValueError: if it is not in 1..8.
    """
    if isinstance(bits, bool) or not isinstance(bits, int | np.integer):
        raise TypeError(f"{name} must be an int from 1 to 8, got {bits!r}.")
    if not 1 <= bits <= 8:
        raise ValueError(f"{name} must be from 1 to 8, got {bits}.")
    return int(bits)
