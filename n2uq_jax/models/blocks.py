"""The pre-activation units that the paper's networks are made of."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype

from n2uq_jax.isolation import boundary
from n2uq_jax.nn import BatchNorm, QuantConv, RPReLU


@dataclasses.dataclass(frozen=True)
class Precision:
    """Bit widths and dtypes of a network.

    Args:
      w_bits: bit width of the weights, 1 to 8; None for a float network.
      a_bits: bit width of the activations, 1 to 8; None exactly if ``w_bits`` is None.
      dtype: dtype of the computation.
      param_dtype: dtype of the parameters.

    Raises:
      ValueError: if one bit width is None and the other is not.
    """

    w_bits: int | None
    a_bits: int | None
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    def __post_init__(self):
        if (self.w_bits is None) != (self.a_bits is None):
            raise ValueError(
                "w_bits and a_bits must both be given, or both be None for the float twin; "
                f"got w_bits={self.w_bits}, a_bits={self.a_bits}."
            )

    @property
    def dtypes(self) -> dict[str, Any]:
        """The arguments ``dtype`` and ``param_dtype`` of a layer."""
        return {"dtype": self.dtype, "param_dtype": self.param_dtype}


def conv(
    in_features: int,
    out_features: int,
    kernel_size: int,
    stride: int = 1,
    *,
    groups: int = 1,
    quantized: bool = True,
    quantize_input: bool = True,
    precision: Precision,
    rngs: nnx.Rngs,
) -> nnx.Conv:
    """Returns a square convolution without bias, padded by ``kernel_size // 2`` on every side.

    Args:
      in_features: input channels.
      out_features: output channels.
      kernel_size: height and width of the window.
      stride: of both axes.
      groups: feature group count.
      quantized: False keeps the layer float whatever the precision says.
      quantize_input: False for a quantized layer that takes a QArray.
      precision: bit widths and dtypes.
      rngs: the key stream ``params``.

    Returns:
      A QuantConv, or an ``nnx.Conv`` in a float network.
    """
    shared: dict[str, Any] = {
        "kernel_size": (kernel_size, kernel_size),
        "strides": (stride, stride),
        # A tuple, so that the network's GraphDef can be a static argument of jax.jit.
        "padding": ((kernel_size // 2, kernel_size // 2),) * 2,
        "feature_group_count": groups,
        "use_bias": False,
        "kernel_init": nnx.initializers.variance_scaling(2.0, "fan_out", "normal"),
        "rngs": rngs,
        **precision.dtypes,
    }
    if not quantized or precision.w_bits is None:
        return nnx.Conv(in_features, out_features, **shared)
    a_bits = precision.a_bits if quantize_input else None
    return QuantConv(in_features, out_features, w_bits=precision.w_bits, a_bits=a_bits, **shared)


class ConvUnit(nnx.Module):
    """RPReLU, activation quantizer, quantized convolution, batch normalization.

    Args:
      in_features: input channels.
      out_features: output channels.
      kernel_size: height and width of the window.
      stride: of both axes.
      groups: feature group count.
      precision: bit widths and dtypes.
      rngs: the key stream ``params``.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int,
        stride: int = 1,
        *,
        groups: int = 1,
        precision: Precision,
        rngs: nnx.Rngs,
    ):
        self.activation = RPReLU(in_features, rngs=rngs, **precision.dtypes)
        self.conv = conv(
            in_features,
            out_features,
            kernel_size,
            stride,
            groups=groups,
            precision=precision,
            rngs=rngs,
        )
        self.norm = BatchNorm(out_features, rngs=rngs, **precision.dtypes)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``(batch, height, width, in_features)`` to ``(batch, ..., out_features)``."""
        return self.norm(self.conv(self.activation(x)))


class Shortcut(nnx.Module):
    """A 1x1 convolution and batch normalization, where a residual changes its shape.

    Args:
      in_features: input channels.
      out_features: output channels.
      stride: of both axes.
      quantized: False keeps the convolution float.
      precision: bit widths and dtypes.
      rngs: the key stream ``params``.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        stride: int,
        *,
        quantized: bool,
        precision: Precision,
        rngs: nnx.Rngs,
    ):
        self.conv = conv(
            in_features,
            out_features,
            1,
            stride,
            quantized=quantized,
            precision=precision,
            rngs=rngs,
        )
        self.norm = BatchNorm(out_features, rngs=rngs, **precision.dtypes)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``(batch, height, width, in_features)`` to ``(batch, ..., out_features)``."""
        return self.norm(self.conv(x))


class ResidualBlock(nnx.Module):
    """Convolution units around a shortcut, and an RPReLU on their sum.

    Args:
      units: the units of the residual branch, in order.
      shortcut: None for the identity.
      features: channels of the sum.
      precision: bit widths and dtypes.
      rngs: the key stream ``params``.
    """

    def __init__(
        self,
        units: list[ConvUnit],
        shortcut: Shortcut | None,
        features: int,
        *,
        precision: Precision,
        rngs: nnx.Rngs,
    ):
        self.units = nnx.List(units)
        self.shortcut = shortcut if shortcut is not None else nnx.data(None)
        self.activation = RPReLU(features, rngs=rngs, **precision.dtypes)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``(batch, height, width, in)`` to ``(batch, ..., features)``."""
        residual = x if self.shortcut is None else self.shortcut(x)
        for unit in self.units:
            x = unit(x)
        return boundary(self.activation(x + residual))
