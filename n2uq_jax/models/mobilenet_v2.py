"""The N2UQ MobileNetV2."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype

from n2uq_jax.isolation import boundary
from n2uq_jax.models.blocks import ConvUnit, Precision, conv
from n2uq_jax.nn import PACT, BatchNorm

GROUPS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, number of blocks and stride of the first, for each group of blocks."""

STEM_FEATURES = 32
LAST_FEATURES = 1280


def block_shapes() -> list[tuple[int, int, int, int]]:
    """Returns the input channels, output channels, expansion and stride of every block."""
    shapes = []
    features = STEM_FEATURES
    for expansion, width, repeats, stride in GROUPS:
        for j in range(repeats):
            shapes.append((features, width, expansion, stride if j == 0 else 1))
            features = width
    return shapes


class InvertedResidual(nnx.Module):
    """A widening 1x1, a depthwise 3x3 and a narrowing 1x1 unit, and their sum with the input.

    The sum is there where the shape does not change, and nothing follows it.

    Args:
      in_features: input channels.
      out_features: output channels.
      expansion: the depthwise unit has this many times ``in_features`` channels.
      stride: of the depthwise unit.
      precision: bit widths and dtypes.
      rngs: the key stream ``params``.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        expansion: int,
        stride: int,
        *,
        precision: Precision,
        rngs: nnx.Rngs,
    ):
        hidden = expansion * in_features
        shared: dict[str, Any] = {"precision": precision, "rngs": rngs}
        self.units = nnx.List(
            [
                ConvUnit(in_features, hidden, 1, **shared),
                ConvUnit(hidden, hidden, 3, stride, groups=hidden, **shared),
                ConvUnit(hidden, out_features, 1, **shared),
            ]
        )
        self.residual = stride == 1 and in_features == out_features

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``(batch, height, width, in_features)`` to ``(batch, ..., out_features)``."""
        y = x
        for unit in self.units:
            y = unit(y)
        return boundary(x + y if self.residual else y)


class MobileNetV2(nnx.Module):
    """MobileNetV2 of pre-activation N2UQ blocks, depthwise convolutions quantized too.

    The first convolution, with a ReLU6 behind its normalization, and the last linear layer stay
    float. The first block has a 1x1 convolution of 32 to 32 channels, which torchvision's network
    has not. The last convolution reads a PACT activation, and a ReLU in the float twin.

    Args:
      in_features: channels of the images.
      num_classes: number of logits.
      w_bits: bit width of the weights; None (with ``a_bits``) for the float twin: the same
        topology with no quantizers.
      a_bits: bit width of the activations.
      dtype: dtype of the computation.
      param_dtype: dtype of the parameters.
      rngs: the key stream ``params``.

    Reference:
      Sandler et al., "MobileNetV2", CVPR 2018; Liu et al., "Nonuniform-to-Uniform Quantization",
      CVPR 2022, Section 4, and its code.
    """

    def __init__(
        self,
        *,
        in_features: int = 3,
        num_classes: int = 1000,
        w_bits: int | None,
        a_bits: int | None,
        dtype: Dtype = jnp.float32,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        precision = Precision(w_bits, a_bits, dtype, param_dtype)
        shared: dict[str, Any] = {"precision": precision, "rngs": rngs}
        self.conv = conv(in_features, STEM_FEATURES, 3, 2, quantized=False, **shared)
        self.norm = BatchNorm(STEM_FEATURES, rngs=rngs, **precision.dtypes)
        self.blocks = nnx.List([InvertedResidual(*shape, **shared) for shape in block_shapes()])
        features = GROUPS[-1][1]
        self.last_activation = nnx.relu if a_bits is None else PACT(a_bits, param_dtype=param_dtype)
        self.last_conv = conv(features, LAST_FEATURES, 1, quantize_input=False, **shared)
        self.last_norm = BatchNorm(LAST_FEATURES, rngs=rngs, **precision.dtypes)
        self.head = nnx.Linear(LAST_FEATURES, num_classes, rngs=rngs, **precision.dtypes)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Classifies.

        Args:
          images: normalized images, shape ``(batch, height, width, in_features)``.

        Returns:
          Logits, shape ``(batch, num_classes)``.
        """
        x = boundary(nnx.relu6(self.norm(self.conv(images))))
        for block in self.blocks:
            x = block(x)
        x = self.last_conv(self.last_activation(x))  # type: ignore[arg-type]
        x = nnx.relu6(self.last_norm(x))
        return self.head(x.mean((1, 2)))
