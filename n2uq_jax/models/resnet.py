"""Residual networks: one description for every form, and the paper's form of them."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype

from n2uq_jax.isolation import boundary
from n2uq_jax.models.forms import Form, PreActivation
from n2uq_jax.models.layers import ConvShape, Precision, conv, max_pool
from n2uq_jax.nn import BatchNorm, Method

Block = Literal["basic", "bottleneck"]


@dataclasses.dataclass(frozen=True)
class ResNetShape:
    """The convolutions of a residual network.

    Args:
      block: ``"basic"`` (two 3x3 convolutions) or ``"bottleneck"`` (1x1, 3x3, 1x1, four times as
        wide at its end; the 3x3 one strides).
      depths: number of blocks in each stage.
      widths: channels of each stage; each stage after the first halves the image.
      stem: ``"imagenet"`` for a 7x7 convolution of stride 2 and a max-pool, ``"small"`` for one
        3x3 convolution.
      stem_stride: stride of a small stem, in pixels.
      in_features: channels of the images.

    Reference:
      He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, Table 1 and Section
      4.2; version 1.5, as in torchvision, for the place of a bottleneck's stride.
    """

    block: Block
    depths: Sequence[int]
    widths: Sequence[int]
    stem: Literal["imagenet", "small"] = "imagenet"
    stem_stride: int = 1
    in_features: int = 3

    @property
    def stem_conv(self) -> ConvShape:
        """The first convolution."""
        kernel_size, stride = (7, 2) if self.stem == "imagenet" else (3, self.stem_stride)
        return ConvShape(self.in_features, self.widths[0], kernel_size, stride)

    @property
    def stages(self) -> list[list[list[ConvShape]]]:
        """The convolutions of every block of every stage, shortcuts left out."""
        make = {"basic": basic_block, "bottleneck": bottleneck_block}[self.block]
        stages, features = [], self.widths[0]
        for i, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True)):
            blocks = []
            for j in range(depth):
                blocks.append(make(features, width, 2 if i > 0 and j == 0 else 1))
                features = blocks[-1][-1].out_features
            stages.append(blocks)
        return stages


def basic_block(in_features: int, width: int, stride: int) -> list[ConvShape]:
    """Returns the two 3x3 convolutions of a basic block, the first of which strides."""
    return [ConvShape(in_features, width, 3, stride), ConvShape(width, width, 3)]


def bottleneck_block(in_features: int, width: int, stride: int) -> list[ConvShape]:
    """Returns the 1x1, the 3x3 (which strides) and the 1x1 convolution of a bottleneck."""
    return [
        ConvShape(in_features, width, 1),
        ConvShape(width, width, 3, stride),
        ConvShape(width, 4 * width, 1),
    ]


IMAGENET_DEPTHS: dict[str, tuple[Block, tuple[int, ...]]] = {
    "resnet18": ("basic", (2, 2, 2, 2)),
    "resnet34": ("basic", (3, 4, 6, 3)),
    "resnet50": ("bottleneck", (3, 4, 6, 3)),
    "resnet101": ("bottleneck", (3, 4, 23, 3)),
}
"""Kind of block and number of blocks in each of the four stages for ImageNet, by name."""

SMALL_DEPTHS = {f"resnet{6 * n + 2}": n for n in (1, 2, 3, 5, 7, 9)}
"""Number of blocks in each of the three stages of the small networks, by name: depth 6n + 2."""


def resnet_shape(
    name: str, *, in_features: int = 3, width: int = 16, stem_stride: int = 1
) -> ResNetShape:
    """Returns the convolutions of a residual network by name.

    Args:
      name: a key of :data:`IMAGENET_DEPTHS` or :data:`SMALL_DEPTHS`.
      in_features: channels of the images.
      width: channels of a small network's first stage; the two others have 2 and 4 times as many.
      stem_stride: stride of a small network's first convolution, in pixels.

    Returns:
      The description.
    """
    if name in IMAGENET_DEPTHS:
        return ResNetShape(
            *IMAGENET_DEPTHS[name], (64, 128, 256, 512), "imagenet", in_features=in_features
        )
    depths, widths = (SMALL_DEPTHS[name],) * 3, (width, 2 * width, 4 * width)
    return ResNetShape("basic", depths, widths, "small", stem_stride, in_features)


class ResidualBlock(nnx.Module):
    r"""Units around a shortcut, and an activation of their sum.

    .. math:: y = \phi(F(x) + S(x))

    with the units :math:`F`, the activation :math:`\phi`, and the identity as :math:`S` where
    shapes allow.

    Args:
      shapes: the convolutions of the units, in order.
      form: makes the units, the shortcut and the activation.
      rngs: the key stream ``params``.
    """

    def __init__(self, shapes: Sequence[ConvShape], *, form: Form, rngs: nnx.Rngs):
        self.units = form.units(shapes, rngs=rngs)
        in_features, out_features = shapes[0].in_features, shapes[-1].out_features
        stride = math.prod(shape.stride for shape in shapes)
        shortcut = ConvShape(in_features, out_features, 1, stride)
        same = stride == 1 and in_features == out_features
        self.shortcut: Any = nnx.data(None) if same else form.shortcut(shortcut, rngs=rngs)
        self.activation: Any = form.sum_activation(out_features, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``(batch, height, width, in_features)`` to ``(batch, ..., out_features)``."""
        residual = x if self.shortcut is None else self.shortcut(x)
        for unit in self.units:
            x = unit(x)
        return boundary(self.activation(x + residual))


class ResidualNetwork(nnx.Module):
    """Stages of residual blocks and a head; a form adds its ``stem``.

    Args:
      shape: the convolutions.
      num_classes: number of logits.
      form: makes the units and the head.
      make_block: makes the blocks of these.
      rngs: the key stream ``params``.

    Attributes:
      image_dtype: dtype of the images.
    """

    image_dtype: Any = jnp.float32
    stem: Callable[[jax.Array], jax.Array]

    def __init__(
        self,
        shape: ResNetShape,
        num_classes: int,
        *,
        form: Form,
        make_block: Callable[..., ResidualBlock] = ResidualBlock,
        rngs: nnx.Rngs,
    ):
        self.stages = nnx.List(
            [
                nnx.List([make_block(block, form=form, rngs=rngs) for block in stage])
                for stage in shape.stages
            ]
        )
        self.head: Any = form.head(shape.stages[-1][-1][-1].out_features, num_classes, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Classifies.

        Args:
          images: normalized images, float, shape ``(batch, height, width, in_features)``.

        Returns:
          Logits, shape ``(batch, num_classes)``.
        """
        x = self.stem(images)
        for stage in self.stages:
            for block in stage:
                x = block(x)
        return self.classify(x)

    def classify(self, x: jax.Array) -> jax.Array:
        """Maps the last block's output ``(batch, height, width, features)`` to logits."""
        return self.head(x.mean((1, 2)))


class ResNet(ResidualNetwork):
    """A residual network of pre-activation N2UQ blocks.

    The first convolution and the last linear layer stay float; a ReLU follows the first one.

    Args:
      shape: the convolutions.
      num_classes: number of logits.
      w_bits: bit width of the weights, 1 to 8; None (with ``a_bits``) for the float twin: the same
        topology with no quantizers.
      a_bits: bit width of the activations, 1 to 8.
      quantize_downsample: False keeps the 1x1 convolutions of shortcuts float.
      method: how the layers quantize; see :data:`n2uq_jax.nn.Method`.
      dtype: dtype of the computation.
      param_dtype: dtype of the parameters.
      rngs: the key stream ``params``.

    Raises:
      ValueError: if one bit width is None and the other is not, or one is not in 1 to 8, or the
        method does not do it.

    Reference:
      Liu et al., "Nonuniform-to-Uniform Quantization", CVPR 2022, Section 4, and its code.
    """

    def __init__(
        self,
        shape: ResNetShape,
        *,
        num_classes: int = 1000,
        w_bits: int | None,
        a_bits: int | None,
        quantize_downsample: bool = True,
        method: Method = "n2uq",
        dtype: Dtype = jnp.float32,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        precision = Precision(w_bits, a_bits, dtype, param_dtype, method)
        self.shape, self.precision, self.quantize_downsample = shape, precision, quantize_downsample
        self.conv = conv(shape.stem_conv, quantized=False, precision=precision, rngs=rngs)
        self.norm = BatchNorm(shape.widths[0], rngs=rngs, **precision.dtypes)
        self.pool = shape.stem == "imagenet"
        form = PreActivation(precision, quantize_downsample)
        super().__init__(shape, num_classes, form=form, rngs=rngs)

    def stem(self, images: jax.Array) -> jax.Array:
        """Maps images to the input of the first block."""
        x = nnx.relu(self.norm(self.conv(images)))
        return boundary(max_pool(x) if self.pool else x)
