"""A check that this backend multiplies codes exactly."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from n2uq_jax.arithmetic.convolution import quantized_conv
from n2uq_jax.arithmetic.exactness import Operands
from n2uq_jax.quantizers.qarray import QArray


@dataclasses.dataclass(frozen=True)
class SelfTest:
    """What :func:`selftest` found.

    Args:
      backend: the platform it ran on, such as ``"cpu"``.
      wrong: for each ``(operands, bits, convolution)``, how many sums differ from the integers.
    """

    backend: str
    wrong: dict[tuple[str, int, str], int]

    @property
    def ok(self) -> bool:
        """Whether every sum was exact."""
        return not any(self.wrong.values())

    def __str__(self) -> str:
        verdict = "exact" if self.ok else "NOT EXACT"
        lines = [f"convolutions of codes on {self.backend}: {verdict}"]
        for (operands, bits, name), wrong in self.wrong.items():
            lines.append(f"  {operands:9} {bits} bits  {name:10} {wrong} sums differ")
        return "\n".join(lines)


_CONVOLUTIONS = {
    # name: (input NHWC, window HWIO, stride, groups); a 3x3 at stride 1 invites Winograd.
    "3x3": ((2, 14, 14, 64), (3, 3, 64, 32), 1, 1),
    "1x1": ((2, 7, 7, 256), (1, 1, 256, 32), 1, 1),
    "5x5": ((1, 14, 14, 16), (5, 5, 16, 16), 2, 1),
    "depthwise": ((2, 14, 14, 32), (3, 3, 1, 32), 1, 32),
}


def selftest() -> SelfTest:
    """Compares convolutions of random codes with integers computed by NumPy.

    A backend that convolves by Winograd or Fourier transforms, or that drops operand bits, rounds
    sums which this library takes to be exact. Call this once on a backend that is new to you.

    Returns:
      The number of differing sums for operands in float32, bfloat16 and int8 at 2 and 4 bits,
      and in the arithmetic chosen by default at 8 bits.
    """
    rng = np.random.default_rng(0)
    wrong: dict[tuple[str, int, str], int] = {}
    types: list[Operands | None] = ["float32", "bfloat16", "int8"]
    modes = [*itertools.product(types, (2, 4)), (None, 8)]
    for name, (x_shape, w_shape, stride, groups) in _CONVOLUTIONS.items():
        for operands, bits in modes:
            max_code = 2**bits - 1
            x = rng.integers(0, max_code + 1, x_shape)
            w = 2 * rng.integers(0, max_code + 1, w_shape) - max_code
            got = _convolve(x, w, max_code, stride, groups, operands)
            expected = _reference(x, w, stride, groups)
            wrong[operands or "default", bits, name] = int((got != expected).sum())
    return SelfTest(jax.default_backend(), wrong)


def _convolve(x, w, max_code, stride, groups, operands):
    one = jnp.ones((), jnp.float32)
    convolve = jax.jit(
        lambda x, w: quantized_conv(
            QArray(x, one, max_code),
            QArray(w, one, max_code),
            strides=(stride, stride),
            padding=[((k - 1) // 2, (k - 1) // 2) for k in w.shape[:2]],
            groups=groups,
            operands=operands,
        )
    )
    return np.asarray(convolve(jnp.asarray(x, jnp.float32), jnp.asarray(w, jnp.float32)))


def _reference(x, w, stride, groups):
    height, width, depth, out = w.shape
    low = (height - 1) // 2
    x = np.pad(x, ((0, 0), (low, low), (low, low), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (height, width), axis=(1, 2))
    windows = windows[:, ::stride, ::stride]
    windows = windows.reshape(*windows.shape[:3], groups, depth, height, width)
    w = w.reshape(height, width, depth, groups, out // groups)
    sums = np.einsum("bijgdhw,hwdgo->bijgo", windows, w, optimize=True)
    return sums.reshape(*sums.shape[:3], out)
