"""Which layers are quantized, and how."""

import dataclasses
import re
from typing import Any

from n2uq_jax.arithmetic import Operands
from n2uq_jax.nn.methods import Method, check_method
from n2uq_jax.nn.quantized import check_options
from n2uq_jax.quantizers.bits import check_bits


@dataclasses.dataclass(frozen=True)
class Rule:
    r"""What happens to the layers whose path a regular expression matches.

    ``Rule(r"blocks/\d+/mlp/.*", w_bits=4, a_bits=4)`` quantizes; ``Rule("head")`` leaves float.

    Args:
      path: regular expression; ``re.fullmatch`` on the "/"-joined path of a layer.
      w_bits: bit width of the weights, 1 to 8; None leaves the layer float.
      a_bits: bit width of the inputs, 1 to 8; None quantizes weights alone.
      signed: whether the input's codes are the odd integers ``-N .. N`` instead of ``0 .. N``.
        None: unsigned until calibration chooses.
      per_channel: thresholds per input channel instead of per tensor.
      operands: the type codes are multiplied in; as in :class:`n2uq_jax.nn.QuantConv`.
      method: how the layer is quantized, one of :data:`n2uq_jax.nn.Method`.

    Raises:
      TypeError: if a bit width is no int, ``path`` no string, ``signed`` no bool or None, or
        ``per_channel`` no bool.
      ValueError: if a bit width is not in 1..8, ``path`` no regular expression, ``operands`` or
        ``method`` unknown, the method does not do what is asked of it, or inputs are to be
        quantized but not weights.
    """

    path: str
    w_bits: int | None = None
    a_bits: int | None = None
    signed: bool | None = None
    per_channel: bool = False
    operands: Operands | None = None
    method: Method = "n2uq"

    def __post_init__(self):
        if not isinstance(self.path, str):
            raise TypeError(f"path must be a regular expression as a string, got {self.path!r}.")
        try:
            re.compile(self.path)
        except re.error as error:
            raise ValueError(
                f"path must be a regular expression, got {self.path!r}: {error}."
            ) from error
        if self.w_bits is not None:
            check_bits("w_bits", self.w_bits)
        check_options(
            a_bits=self.a_bits,
            signed=self.signed,
            per_channel=self.per_channel,
            operands=self.operands,
        )
        check_method(
            self.method,
            w_bits=self.w_bits,
            a_bits=self.a_bits,
            signed=self.signed,
            per_channel=self.per_channel,
        )
        if self.a_bits is not None and self.w_bits is None:
            raise ValueError(
                f"w_bits must be given with a_bits={self.a_bits}: a product of codes wants both."
            )

    @property
    def options(self) -> dict[str, Any]:
        """What the rule says of a layer, as the arguments of a quantized layer."""
        names = ("w_bits", "a_bits", "signed", "per_channel", "method", "operands")
        return {name: getattr(self, name) for name in names}

    @property
    def leaves_float(self) -> bool:
        """Whether the rule says to keep a layer as it is."""
        return self.w_bits is None

    def matches(self, path: str) -> bool:
        """Whether the rule is about the layer at ``path``.

        Args:
          path: of a layer, joined by "/".
        """
        return re.fullmatch(self.path, path) is not None

    def names(self, path: str) -> bool:
        """Whether the rule matches ``path`` and spells it out, as ``"conv1|conv2"`` does.

        A pattern such as ``".*"`` or ``"conv[0-9]"`` matches but does not name.

        Args:
          path: of a layer, joined by "/".
        """
        spelled = rf"(?<![\w/]){re.escape(path)}(?![\w/])"
        return self.matches(path) and re.search(spelled, self.path.replace("\\", "")) is not None
