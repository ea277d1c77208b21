"""What convolutions share: sizes, batch axes, and what Flax lets padding and strides be."""

from collections.abc import Sequence
from typing import Any

import jax

from n2uq_jax.nn.quantized import QuantizedLayer, map_codes
from n2uq_jax.quantizers import QArray


class WindowedLayer(QuantizedLayer):
    """A quantized layer that slides a window over one to three spatial axes.

    A subclass says in :meth:`convolve` what it does with a batch.
    """

    kernel_size: tuple[int, ...]

    def __call__(self, inputs: jax.Array | QArray) -> jax.Array:
        """Convolves.

        Args:
          inputs: float array of shape ``(*batch, *spatial, in_features)``, or a QArray if
            ``a_bits`` is None. Any number of batch axes.

        Returns:
          Float array of shape ``(*batch, *spatial, out_features)``.

        Raises:
          TypeError: for a QArray where the layer has a quantizer of its own.
          ValueError: for a wrong number of axes or channels.
        """
        shape, rank = inputs.shape, len(self.kernel_size)
        if len(shape) < rank + 1 or shape[-1] != self.in_features:
            raise ValueError(
                f"inputs must have {rank} spatial axes and {self.in_features} channels last, "
                f"got shape {shape}."
            )
        x, dtype = self.quantize_inputs(inputs)
        x = map_codes(lambda codes: codes.reshape(-1, *shape[-rank - 1 :]), x)
        y = self.add_bias(self.convolve(x).astype(dtype))
        return y.reshape(*shape[: len(shape) - rank - 1], *y.shape[1:])

    def convolve(self, x: QArray | jax.Array) -> jax.Array:
        """Returns the convolution of ``x`` of shape ``(batch, *spatial, in_features)``."""
        raise NotImplementedError

    @classmethod
    def check_arguments(cls, arguments: dict[str, Any]) -> None:
        """Raises for sizes below 1.

        Raises:
          ValueError: if features, window, strides or dilation are below 1.
        """
        super().check_arguments(arguments)
        sizes = ("in_features", "out_features", "kernel_size", "strides")
        for name in (*sizes, "input_dilation", "kernel_dilation"):
            value = arguments.get(name)
            if any(
                v < 1
                for v in (value if isinstance(value, Sequence) else [1 if value is None else value])
            ):
                raise ValueError(f"{name} must be at least 1, got {value}.")


def per_axis(value: int | Sequence[int] | None, rank: int) -> tuple[int, ...]:
    """Returns one number a spatial axis; None stands for ones."""
    if value is None or isinstance(value, int):
        return (value or 1,) * rank
    return tuple(value)


def padding_pairs(padding: int | Sequence[Any], rank: int) -> list[tuple[int, int]]:
    """Returns padding that is given in numbers as one (low, high) pair a spatial axis.

    Args:
      padding: an int, or a sequence of ints or pairs.
      rank: number of spatial axes.

    Returns:
      The pairs.

    Raises:
      ValueError: for a sequence of another length.
    """
    entries = [padding] * rank if isinstance(padding, int) else list(padding)
    if len(entries) != rank:
        raise ValueError(f"padding must have {rank} entries, one a spatial axis; got {padding}.")
    return [(p, p) if isinstance(p, int) else tuple(p) for p in entries]
