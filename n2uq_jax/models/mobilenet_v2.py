"""MobileNetV2: one description for every form, and the paper's form of it."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype

from n2uq_jax.isolation import boundary
from n2uq_jax.models.forms import Form, PreActivation
from n2uq_jax.models.layers import ConvShape, Precision, conv
from n2uq_jax.nn import PACT, BatchNorm, Method
from n2uq_jax.nn.methods import input_quantizer, is_n2uq

Group = tuple[int, int, int, int]
"""Expansion, channels, number of blocks and stride of the first, for a group of blocks."""


@dataclasses.dataclass(frozen=True)
class MobileNetShape:
    """The convolutions of a network of inverted residual blocks.

    Args:
      groups: its blocks.
      stem_features: channels behind the first convolution.
      last_features: channels behind the last one, which are averaged.
      stem_stride: of the first convolution, in pixels.
      in_features: channels of the images.

    Reference:
      Sandler et al., "MobileNetV2", CVPR 2018, Table 2.
    """

    groups: tuple[Group, ...] = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    stem_features: int = 32
    last_features: int = 1280
    stem_stride: int = 2
    in_features: int = 3

    @property
    def stem_conv(self) -> ConvShape:
        """The first convolution."""
        return ConvShape(self.in_features, self.stem_features, 3, self.stem_stride)

    @property
    def blocks(self) -> list[list[ConvShape]]:
        """The convolutions of every block, in order."""
        blocks, features = [], self.stem_features
        for expansion, width, repeats, stride in self.groups:
            for j in range(repeats):
                blocks.append(inverted_block(features, width, expansion, stride if j == 0 else 1))
                features = width
        return blocks

    @property
    def last_conv(self) -> ConvShape:
        """The convolution between the last block and the head."""
        return ConvShape(self.groups[-1][1], self.last_features, 1)


SMALL = "mobilenet_v2_small"
"""Name of the network for small images."""


def mobilenet_shape(
    name: str, *, in_features: int = 3, width: int = 16, stem_stride: int = 1
) -> MobileNetShape:
    """Returns the convolutions of a network by name.

    Args:
      name: ``"mobilenet_v2"``, the paper's; or :data:`SMALL`, five blocks for images of some 30
        pixels.
      in_features: channels of the images.
      width: channels behind the small network's first convolution; its groups of blocks have 1, 2
        and 4 times as many, and the last convolution 16 times.
      stem_stride: stride of the small network's first convolution, in pixels.

    Returns:
      The description.
    """
    if name != SMALL:
        return MobileNetShape(in_features=in_features)
    groups = ((1, width, 1, 1), (6, 2 * width, 2, 2), (6, 4 * width, 2, 2))
    return MobileNetShape(groups, width, 16 * width, stem_stride, in_features)


def last_activation(precision: Precision) -> Callable[[jax.Array], Any]:
    """Returns what the last convolution reads: the authors' PACT, or the other methods' quantizer.

    Args:
      precision: of the network.

    Returns:
      A module that maps float arrays to QArrays; a ReLU for the float twin.
    """
    if precision.a_bits is None:
        return nnx.relu
    if is_n2uq(precision.method):
        return PACT(precision.a_bits, param_dtype=precision.param_dtype)
    return input_quantizer(precision.method, precision.a_bits, param_dtype=precision.param_dtype)


def inverted_block(
    in_features: int, out_features: int, expansion: int, stride: int
) -> list[ConvShape]:
    """Returns the widening 1x1, the depthwise 3x3 and the narrowing 1x1 convolution of a block.

    Args:
      in_features: input channels.
      out_features: output channels.
      expansion: the depthwise convolution has this many times ``in_features`` channels.
      stride: of the depthwise convolution, in pixels.

    Returns:
      The three shapes.

    Reference:
      Sandler et al., "MobileNetV2", CVPR 2018, Table 1.
    """
    hidden = expansion * in_features
    return [
        ConvShape(in_features, hidden, 1),
        ConvShape(hidden, hidden, 3, stride, groups=hidden),
        ConvShape(hidden, out_features, 1),
    ]


class InvertedResidual(nnx.Module):
    """Units, and their sum with the input where the shape does not change.

    Nothing follows the sum.

    Args:
      shapes: the convolutions of the units, in order.
      form: makes the units.
      rngs: the key stream ``params``.
    """

    def __init__(self, shapes: Sequence[ConvShape], *, form: Form, rngs: nnx.Rngs):
        self.units = form.units(shapes, rngs=rngs)
        same = shapes[0].in_features == shapes[-1].out_features
        self.residual = same and all(shape.stride == 1 for shape in shapes)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``(batch, height, width, in_features)`` to ``(batch, ..., out_features)``."""
        y = x
        for unit in self.units:
            y = unit(y)
        return boundary(x + y if self.residual else y)


class InvertedResidualNetwork(nnx.Module):
    """Inverted residual blocks; a form adds its ``stem``, its ``last`` convolution and ``head``.

    Args:
      blocks: the convolutions of every block.
      form: makes the units.
      make_block: makes the blocks of these.
      rngs: the key stream ``params``.

    Attributes:
      image_dtype: dtype of the images.
    """

    image_dtype: Any = jnp.float32
    stem: Callable[[jax.Array], jax.Array]
    last: Callable[[jax.Array], jax.Array]
    head: Any

    def __init__(
        self,
        blocks: Sequence[Sequence[ConvShape]],
        *,
        form: Form,
        make_block: Callable[..., InvertedResidual] = InvertedResidual,
        rngs: nnx.Rngs,
    ):
        self.blocks = nnx.List([make_block(shapes, form=form, rngs=rngs) for shapes in blocks])

    def __call__(self, images: jax.Array) -> jax.Array:
        """Classifies.

        Args:
          images: normalized images, float, shape ``(batch, height, width, in_features)``.

        Returns:
          Logits, shape ``(batch, num_classes)``.
        """
        x = self.stem(images)
        for block in self.blocks:
            x = block(x)
        return self.classify(x)

    def classify(self, x: jax.Array) -> jax.Array:
        """Maps the last block's output ``(batch, height, width, features)`` to logits."""
        return self.head(self.last(x).mean((1, 2)))


class MobileNetV2(InvertedResidualNetwork):
    """MobileNetV2 of pre-activation N2UQ blocks, depthwise convolutions quantized too.

    The first convolution, with a ReLU6 behind its normalization, and the last linear layer stay
    float. The first block has a 1x1 convolution that keeps the number of channels, which
    torchvision's network has not. The last convolution reads a PACT activation, and a ReLU in the
    float twin.

    Args:
      shape: the convolutions; by default the paper's.
      num_classes: number of logits.
      w_bits: bit width of the weights, 1 to 8; None (with ``a_bits``) for the float twin: the same
        topology with no quantizers.
      a_bits: bit width of the activations, 1 to 8.
      method: how the layers quantize; see :data:`n2uq_jax.nn.Method`.
      dtype: dtype of the computation.
      param_dtype: dtype of the parameters.
      rngs: the key stream ``params``.

    Raises:
      ValueError: if one bit width is None and the other is not, or one is not in 1 to 8, or the
        method does not do it.

    Reference:
      Sandler et al., "MobileNetV2", CVPR 2018; Liu et al., "Nonuniform-to-Uniform Quantization",
      CVPR 2022, Section 4, and its code.
    """

    def __init__(
        self,
        shape: MobileNetShape = MobileNetShape(),
        *,
        num_classes: int = 1000,
        w_bits: int | None,
        a_bits: int | None,
        method: Method = "n2uq",
        dtype: Dtype = jnp.float32,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        precision = Precision(w_bits, a_bits, dtype, param_dtype, method)
        self.shape, self.precision = shape, precision
        shared: dict[str, Any] = {"precision": precision, "rngs": rngs}
        form = PreActivation(precision)
        self.conv = conv(shape.stem_conv, quantized=False, **shared)
        self.norm = BatchNorm(shape.stem_features, rngs=rngs, **precision.dtypes)
        super().__init__(shape.blocks, form=form, rngs=rngs)
        self.last_activation = last_activation(precision)
        self.last_conv = conv(shape.last_conv, quantize_input=False, **shared)
        self.last_norm = BatchNorm(shape.last_features, rngs=rngs, **precision.dtypes)
        self.head = form.head(shape.last_features, num_classes, rngs=rngs)

    def stem(self, images: jax.Array) -> jax.Array:
        """Maps images to the input of the first block."""
        return boundary(nnx.relu6(self.norm(self.conv(images))))

    def last(self, x: jax.Array) -> jax.Array:
        """Maps the last block's output to the features that are averaged."""
        x = self.last_conv(self.last_activation(x))
        return nnx.relu6(self.last_norm(x))
