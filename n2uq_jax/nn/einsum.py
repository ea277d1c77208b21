"""An einsum with a quantized kernel and quantized inputs."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from n2uq_jax.arithmetic import quantized_matmul
from n2uq_jax.nn.quantized import QuantizedLayer, map_codes
from n2uq_jax.quantizers import QArray


class Subscripts(NamedTuple):
    """The letters of an einsum between an input and a kernel, one character an axis.

    Args:
      inputs: of the input; an ellipsis stands for any axes.
      kernel: of the kernel.
      outputs: of the result.
    """

    inputs: str
    kernel: str
    outputs: str

    @property
    def contracted(self) -> str:
        """Letters that are summed over, in the kernel's order."""
        return "".join(c for c in self.kernel if c in self.inputs)

    @property
    def features(self) -> str:
        """Letters that the kernel alone has, in its order: the output channels."""
        return "".join(c for c in self.kernel if c not in self.inputs)


def parse_subscripts(einsum_str: str) -> Subscripts:
    """Reads an einsum that is a matrix product of an input and a kernel.

    Args:
      einsum_str: such as ``"...a,ab->...b"``.

    Returns:
      Its letters.

    Raises:
      ValueError: if it is no such product: a letter occurs twice in a term, the kernel has an
        ellipsis, or a letter is shared by all three terms or occurs in one operand alone.
    """
    terms, _, outputs = einsum_str.replace(" ", "").partition("->")
    inputs, _, kernel = terms.partition(",")
    subscripts = Subscripts(inputs, kernel, outputs)
    letters = [term.replace("...", "") for term in subscripts]
    summed = subscripts.contracted
    if (
        "..." in kernel
        or any(len(set(term)) != len(term) for term in letters)
        or ("..." in inputs) != ("..." in outputs)
        or set(letters[2]) != (set(letters[0]) | set(letters[1])) - set(summed)
        or not summed
    ):
        raise ValueError(
            "einsum_str must be a matrix product of an input and a kernel, such as "
            f"'...a,ab->...b', where letters that both share are summed over; got {einsum_str!r}."
        )
    return subscripts


class QuantEinsum(QuantizedLayer, nnx.Einsum):
    """``nnx.Einsum`` on integer codes; it owns the quantizer of its input.

    The kernel's axes that the input has not are its output channels: each combination of them has
    a weight scale of its own.

    Args:
      einsum_str: as in ``nnx.Einsum``; a matrix product, see :func:`parse_subscripts`.
      kernel_shape: shape of the kernel.
      bias_shape: shape of the bias; None for no bias.
      w_bits: bit width of the weights, 1 to 8.
      a_bits: bit width of the inputs, 1 to 8. None: the layer has no input quantizer and takes a
        QArray, or a float array for weight-only quantization.
      signed: the input quantizer's codes are odd integers ``-N .. N`` instead of ``0 .. N``.
      per_channel: thresholds per index of the input's last axis instead of per tensor; it must be
        contracted.
      method: how inputs and kernel are quantized, one of :data:`n2uq_jax.nn.Method`.
      operands: the type codes are multiplied in, ``"float32"``, ``"bfloat16"`` or ``"int8"``; None
        for the computation's dtype where that is exact and int32 elsewhere. It changes speed only.
      rngs: the key stream ``params``.
      **kwargs: ``nnx.Einsum``'s other arguments: dtype, param_dtype, precision, kernel_init,
        bias_init, kernel_metadata, bias_metadata.

    Reference:
      Liu et al., "Nonuniform-to-Uniform Quantization", CVPR 2022.
    """

    float_class = nnx.Einsum

    @classmethod
    def check_arguments(cls, arguments: dict[str, Any]) -> None:
        """Raises for subscripts that are no matrix product."""
        parse_subscripts(arguments["einsum_str"])
        arguments["kernel_shape"] = tuple(arguments["kernel_shape"])

    @classmethod
    def unsupported(cls, layer: Any) -> str | None:
        """Says why an einsum has no quantized form; None if it has."""
        if layer.einsum_str is None:
            return "it gets its einsum_str in the call"
        try:
            parse_subscripts(layer.einsum_str)
        except ValueError:
            return f"{layer.einsum_str!r} is no matrix product of input and kernel"
        return super().unsupported(layer)

    @property
    def subscripts(self) -> Subscripts:
        """The letters of ``einsum_str``."""
        return parse_subscripts(self.einsum_str)

    def input_channels(self) -> int:
        """Returns the size of the input's last axis, for thresholds per channel."""
        last = self.subscripts.inputs[-1]
        if last not in self.subscripts.contracted:
            raise ValueError(
                f"per_channel wants the input's last axis contracted, got {self.einsum_str!r}."
            )
        return self._sizes(last)[0]

    def _sizes(self, letters: str) -> tuple[int, ...]:
        return tuple(self.kernel_shape[self.subscripts.kernel.index(c)] for c in letters)

    def __call__(self, inputs: jax.Array | QArray) -> jax.Array:  # type: ignore[override]
        """Multiplies.

        Args:
          inputs: float array with the axes that ``einsum_str`` names, or a QArray if ``a_bits`` is
            None.

        Returns:
          Float array with the axes that ``einsum_str`` names.

        Raises:
          TypeError: for a QArray where the layer has a quantizer of its own.
          ValueError: if the input's shape does not fit.
        """
        letters, _, outputs = _spell_out(self.subscripts, inputs.ndim)
        summed, features = self.subscripts.contracted, self.subscripts.features
        if len(letters) != inputs.ndim or self._sizes(summed) != tuple(
            inputs.shape[letters.index(c)] for c in summed
        ):
            raise ValueError(
                f"inputs must have the axes {self.subscripts.inputs!r} of {self.einsum_str!r} with "
                f"{self._sizes(summed)} features on {summed!r}, got shape {inputs.shape}."
            )
        free = "".join(c for c in letters if c not in summed)
        order = [letters.index(c) for c in free + summed]
        shape = tuple(inputs.shape[letters.index(c)] for c in free)
        x, dtype = self.quantize_inputs(inputs)
        x = map_codes(lambda v: jnp.transpose(v, order).reshape(*shape, -1), x)
        y = self.multiply(quantized_matmul, x, self.quantized_kernel())
        y = y.astype(dtype).reshape(*shape, *self._sizes(features))
        y = jnp.transpose(y, [(free + features).index(c) for c in outputs])
        if self.bias is None:
            return y
        broadcast = [self._sizes(c)[0] if c in features else 1 for c in outputs]
        return y + self.bias[...].astype(y.dtype).reshape(broadcast)

    def quantized_kernel(self) -> QArray:
        """Returns the kernel as the matrix that inputs are multiplied with."""
        _, kernel, _ = self.subscripts
        summed, features = self.subscripts.contracted, self.subscripts.features
        matrix = jnp.transpose(self.kernel[...], [kernel.index(c) for c in summed + features])
        return self.quantize_kernel(matrix.reshape(math.prod(self._sizes(summed)), -1))


def _spell_out(subscripts: Subscripts, ndim: int) -> Subscripts:
    """Replaces the ellipsis by letters that are not used."""
    named = len(subscripts.inputs.replace("...", ""))
    spare = [c for c in map(chr, range(0x100, 0x200)) if c.isalpha()][: max(ndim - named, 0)]
    return Subscripts(*(term.replace("...", "".join(spare)) for term in subscripts))
