"""N2UQ residual networks: the paper's, for ImageNet, and small ones for small images."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype

from n2uq_jax.isolation import boundary
from n2uq_jax.models.blocks import ConvUnit, Precision, ResidualBlock, Shortcut
from n2uq_jax.nn import BatchNorm

IMAGENET_DEPTHS = {
    "resnet18": ("basic", (2, 2, 2, 2)),
    "resnet34": ("basic", (3, 4, 6, 3)),
    "resnet50": ("bottleneck", (3, 4, 6, 3)),
}
"""Kind of block and number of blocks a stage, by name."""

SMALL_DEPTHS = {f"resnet{6 * n + 2}": n for n in (1, 2, 3, 5, 7, 9)}
"""Number of blocks in each of the three stages, by name: depth 6n + 2."""


class ResNet(nnx.Module):
    """A residual network of pre-activation N2UQ blocks.

    The first convolution and the last linear layer stay float; a ReLU follows the first one.

    Args:
      blocks: ``"basic"`` (two 3x3 convolutions) or ``"bottleneck"`` (1x1, 3x3, 1x1, four times as
        wide at its end).
      depths: number of blocks in each stage.
      widths: channels of each stage; each stage after the first halves the image.
      stem: ``"imagenet"`` for a 7x7 convolution of stride 2 and a max-pool, ``"small"`` for one
        3x3 convolution.
      stem_stride: stride of a small stem.
      in_features: channels of the images.
      num_classes: number of logits.
      w_bits: bit width of the weights; None (with ``a_bits``) for the float twin: the same
        topology with no quantizers.
      a_bits: bit width of the activations.
      quantize_downsample: False keeps the 1x1 convolutions of shortcuts float.
      dtype: dtype of the computation.
      param_dtype: dtype of the parameters.
      rngs: the key stream ``params``.

    Reference:
      Liu et al., "Nonuniform-to-Uniform Quantization", CVPR 2022, Section 4, and its code.
    """

    def __init__(
        self,
        blocks: str,
        depths: Sequence[int],
        widths: Sequence[int],
        *,
        stem: str = "imagenet",
        stem_stride: int = 1,
        in_features: int = 3,
        num_classes: int = 1000,
        w_bits: int | None,
        a_bits: int | None,
        quantize_downsample: bool = True,
        dtype: Dtype = jnp.float32,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        precision = Precision(w_bits, a_bits, dtype, param_dtype)
        imagenet = stem == "imagenet"
        self.conv = nnx.Conv(
            in_features,
            widths[0],
            (7, 7) if imagenet else (3, 3),
            strides=2 if imagenet else stem_stride,
            padding=3 if imagenet else 1,
            use_bias=False,
            kernel_init=nnx.initializers.variance_scaling(2.0, "fan_out", "normal"),
            rngs=rngs,
            **precision.dtypes,
        )
        self.norm = BatchNorm(widths[0], rngs=rngs, **precision.dtypes)
        self.pool = imagenet
        make_block = {"basic": basic_block, "bottleneck": bottleneck_block}[blocks]
        self.stages: nnx.List = nnx.List()
        features = widths[0]
        for i, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            stage: nnx.List = nnx.List()
            for j in range(depth):
                stride = 2 if i > 0 and j == 0 else 1
                block, features = make_block(
                    features, width, stride, quantize_downsample, precision, rngs
                )
                stage.append(block)
            self.stages.append(stage)
        self.head = nnx.Linear(features, num_classes, rngs=rngs, **precision.dtypes)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Classifies.

        Args:
          images: normalized images, shape ``(batch, height, width, in_features)``.

        Returns:
          Logits, shape ``(batch, num_classes)``.
        """
        x = self.stem(images)
        for stage in self.stages:
            for block in stage:
                x = block(x)
        return self.head(x.mean((1, 2)))

    def stem(self, images: jax.Array) -> jax.Array:
        """Maps images to the input of the first block."""
        x = nnx.relu(self.norm(self.conv(images)))
        if self.pool:
            x = nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        return boundary(x)


def basic_block(
    in_features: int,
    width: int,
    stride: int,
    quantize_downsample: bool,
    precision: Precision,
    rngs: nnx.Rngs,
) -> tuple[ResidualBlock, int]:
    """Returns a block of two 3x3 convolutions, and its output channels."""
    unit = functools.partial(ConvUnit, precision=precision, rngs=rngs)
    units = [unit(in_features, width, 3, stride), unit(width, width, 3)]
    shortcut = _shortcut(in_features, width, stride, quantize_downsample, precision, rngs)
    return ResidualBlock(units, shortcut, width, precision=precision, rngs=rngs), width


def bottleneck_block(
    in_features: int,
    width: int,
    stride: int,
    quantize_downsample: bool,
    precision: Precision,
    rngs: nnx.Rngs,
) -> tuple[ResidualBlock, int]:
    """Returns a block of a 1x1, a 3x3 and a 1x1 convolution, and its output channels."""
    unit = functools.partial(ConvUnit, precision=precision, rngs=rngs)
    out = 4 * width
    units = [unit(in_features, width, 1), unit(width, width, 3, stride), unit(width, out, 1)]
    shortcut = _shortcut(in_features, out, stride, quantize_downsample, precision, rngs)
    return ResidualBlock(units, shortcut, out, precision=precision, rngs=rngs), out


def _shortcut(in_features, out_features, stride, quantized, precision, rngs):
    if stride == 1 and in_features == out_features:
        return None
    return Shortcut(
        in_features, out_features, stride, quantized=quantized, precision=precision, rngs=rngs
    )


def create_resnet(name: str, *, width: int = 16, **kwargs) -> ResNet:
    """Builds a residual network by name.

    Args:
      name: a key of :data:`IMAGENET_DEPTHS` or :data:`SMALL_DEPTHS`.
      width: channels of the first stage of a small network.
      **kwargs: arguments of :class:`ResNet`.

    Returns:
      The network.
    """
    if name in SMALL_DEPTHS:
        depths, widths = [SMALL_DEPTHS[name]] * 3, [width, 2 * width, 4 * width]
        return ResNet("basic", depths, widths, stem="small", **kwargs)
    blocks, stage_depths = IMAGENET_DEPTHS[name]
    return ResNet(blocks, stage_depths, [64, 128, 256, 512], **kwargs)
