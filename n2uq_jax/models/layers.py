"""The convolutions that every network here is made of: their shapes, bit widths and dtypes."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype

from n2uq_jax.nn import BatchNorm, Method, QuantConv


@dataclasses.dataclass(frozen=True)
class ConvShape:
    """A square convolution without bias, padded by ``kernel_size // 2`` on every side.

    Args:
      in_features: input channels.
      out_features: output channels.
      kernel_size: height and width of the window, in pixels.
      stride: of both axes, in pixels.
      groups: feature group count; ``in_features`` for a depthwise convolution.
    """

    in_features: int
    out_features: int
    kernel_size: int
    stride: int = 1
    groups: int = 1


@dataclasses.dataclass(frozen=True)
class Precision:
    """Bit widths and dtypes of a network.

    Args:
      w_bits: bit width of the weights, 1 to 8; None for a float network.
      a_bits: bit width of the activations, 1 to 8; None exactly if ``w_bits`` is None.
      dtype: dtype of the computation.
      param_dtype: dtype of the parameters.
      method: how the layers quantize; see :data:`n2uq_jax.nn.Method`.

    Raises:
      ValueError: if one bit width is None and the other is not.
    """

    w_bits: int | None = None
    a_bits: int | None = None
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32
    method: Method = "n2uq"

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
    shape: ConvShape,
    *,
    quantized: bool = True,
    quantize_input: bool = True,
    precision: Precision,
    rngs: nnx.Rngs,
) -> nnx.Conv:
    r"""Returns a convolution, its kernel drawn for the variance that ReLUs halve.

    .. math:: W \sim \mathcal N\!\left(0, \frac{2}{k^2 \, c_{out} / g}\right)

    Args:
      shape: channels, window ``k``, stride and groups ``g``.
      quantized: False keeps the layer float whatever the precision says.
      quantize_input: False for a quantized layer that takes a QArray.
      precision: bit widths and dtypes.
      rngs: the key stream ``params``.

    Returns:
      A QuantConv, or an ``nnx.Conv`` in a float network: a map from float arrays (or QArrays) of
      shape ``(batch, height, width, in_features)`` to float arrays of shape ``(batch,
      ceil(height / stride), ceil(width / stride), out_features)`` for odd windows.

    Raises:
      ValueError: if a bit width is not in 1 to 8.

    Reference:
      He et al., "Delving Deep into Rectifiers", ICCV 2015, Eq. 14.
    """
    shared: dict[str, Any] = {
        "kernel_size": (shape.kernel_size, shape.kernel_size),
        "strides": (shape.stride, shape.stride),
        # A tuple, so that the network's GraphDef can be a static argument of jax.jit.
        "padding": ((shape.kernel_size // 2, shape.kernel_size // 2),) * 2,
        "feature_group_count": shape.groups,
        "use_bias": False,
        "kernel_init": nnx.initializers.variance_scaling(2.0, "fan_out", "normal"),
        "rngs": rngs,
        **precision.dtypes,
    }
    features = (shape.in_features, shape.out_features)
    if not quantized or precision.w_bits is None:
        return nnx.Conv(*features, **shared)
    a_bits = precision.a_bits if quantize_input else None
    widths: dict[str, Any] = {"w_bits": precision.w_bits, "a_bits": a_bits}
    return QuantConv(*features, **widths, method=precision.method, **shared)


class ConvNorm(nnx.Module):
    """A convolution and batch normalization.

    Args:
      shape: the convolution's.
      quantized: False keeps the convolution float whatever the precision says.
      precision: bit widths and dtypes.
      rngs: the key stream ``params``.
    """

    def __init__(
        self, shape: ConvShape, *, quantized: bool = True, precision: Precision, rngs: nnx.Rngs
    ):
        self.conv = conv(shape, quantized=quantized, precision=precision, rngs=rngs)
        self.norm = BatchNorm(shape.out_features, rngs=rngs, **precision.dtypes)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``(batch, height, width, in_features)`` to ``(batch, ..., out_features)``."""
        return self.norm(self.conv(x))


def max_pool(x: jax.Array) -> jax.Array:
    """Returns the maxima of 3x3 windows, two pixels apart, of an array padded by one pixel.

    Args:
      x: float array of shape ``(batch, height, width, features)``.

    Returns:
      An array of ``x``'s dtype and shape ``(batch, ceil(height / 2), ceil(width / 2), features)``.
    """
    return nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
