"""torchvision's own float networks: teachers and starting points."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype

from n2uq_jax.models.blocks import Precision, Shortcut, conv
from n2uq_jax.models.mobilenet_v2 import GROUPS, LAST_FEATURES, STEM_FEATURES, block_shapes
from n2uq_jax.models.resnet import IMAGENET_DEPTHS
from n2uq_jax.nn import BatchNorm

RESNET_DEPTHS = {**IMAGENET_DEPTHS, "resnet101": ("bottleneck", (3, 4, 23, 3))}
"""Kind of block and number of blocks a stage, by name."""

NAMES = [f"torchvision/{name}" for name in (*RESNET_DEPTHS, "mobilenet_v2")]


class ConvNorm(nnx.Module):
    """A convolution without bias, batch normalization and, maybe, an activation.

    Args:
      in_features: input channels.
      out_features: output channels.
      kernel_size: height and width of the window.
      stride: of both axes.
      groups: feature group count.
      activation: a function of arrays; None for the identity.
      precision: dtypes.
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
        activation=None,
        precision: Precision,
        rngs: nnx.Rngs,
    ):
        shared: dict[str, Any] = {"precision": precision, "rngs": rngs}
        self.conv = conv(in_features, out_features, kernel_size, stride, groups=groups, **shared)
        self.norm = BatchNorm(out_features, rngs=rngs, **precision.dtypes)
        self.activation = activation

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``(batch, height, width, in_features)`` to ``(batch, ..., out_features)``."""
        y = self.norm(self.conv(x))
        return y if self.activation is None else self.activation(y)


class ResidualBlock(nnx.Module):
    """Two 3x3 units, or a 1x1, a 3x3 and a 1x1, and a ReLU on their sum with the shortcut.

    Args:
      blocks: ``"basic"`` or ``"bottleneck"``.
      in_features: input channels.
      width: channels of the 3x3 units.
      stride: of the first 3x3 unit and the shortcut.
      precision: dtypes.
      rngs: the key stream ``params``.
    """

    def __init__(
        self,
        blocks: str,
        in_features: int,
        width: int,
        stride: int,
        *,
        precision: Precision,
        rngs: nnx.Rngs,
    ):
        shared: dict[str, Any] = {"precision": precision, "rngs": rngs}
        unit = functools.partial(ConvNorm, precision=precision, rngs=rngs)
        if blocks == "basic":
            out = width
            units = [unit(in_features, width, 3, stride, activation=nnx.relu), unit(width, out, 3)]
        else:
            out = 4 * width
            units = [
                unit(in_features, width, 1, activation=nnx.relu),
                unit(width, width, 3, stride, activation=nnx.relu),
                unit(width, out, 1),
            ]
        self.units = nnx.List(units)
        same = stride == 1 and in_features == out
        self.shortcut = (
            nnx.data(None)
            if same
            else Shortcut(in_features, out, stride, quantized=False, **shared)
        )
        self.out_features = out

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``(batch, height, width, in_features)`` to ``(batch, ..., out_features)``."""
        residual = x if self.shortcut is None else self.shortcut(x)
        for unit in self.units:
            x = unit(x)
        return nnx.relu(x + residual)


class TorchvisionResNet(nnx.Module):
    """torchvision's ResNet, version 1.5: a bottleneck's stride is in its 3x3 convolution.

    Args:
      blocks: ``"basic"`` or ``"bottleneck"``.
      depths: number of blocks in each of the four stages.
      num_classes: number of logits.
      dtype: dtype of the computation.
      param_dtype: dtype of the parameters.
      rngs: the key stream ``params``.

    Reference:
      He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.
    """

    def __init__(
        self,
        blocks: str,
        depths: Sequence[int],
        *,
        num_classes: int = 1000,
        dtype: Dtype = jnp.float32,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        precision = Precision(None, None, dtype, param_dtype)
        shared: dict[str, Any] = {"precision": precision, "rngs": rngs}
        self.stem = ConvNorm(3, 64, 7, 2, activation=nnx.relu, **shared)
        self.stages: nnx.List = nnx.List()
        features = 64
        for i, depth in enumerate(depths):
            stage: nnx.List = nnx.List()
            for j in range(depth):
                stride = 2 if i > 0 and j == 0 else 1
                stage.append(ResidualBlock(blocks, features, 64 * 2**i, stride, **shared))
                features = stage[-1].out_features
            self.stages.append(stage)
        self.head = nnx.Linear(features, num_classes, rngs=rngs, **precision.dtypes)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Maps images ``(batch, height, width, 3)`` to logits ``(batch, num_classes)``."""
        x = nnx.max_pool(self.stem(images), (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for stage in self.stages:
            for block in stage:
                x = block(x)
        return self.head(x.mean((1, 2)))


class InvertedResidual(nnx.Module):
    """A widening 1x1, a depthwise 3x3 and a narrowing 1x1 unit, and their sum with the input.

    Args:
      in_features: input channels.
      out_features: output channels.
      expansion: the depthwise unit has this many times ``in_features`` channels; 1 leaves the
        widening unit out.
      stride: of the depthwise unit.
      precision: dtypes.
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
        unit = functools.partial(ConvNorm, precision=precision, rngs=rngs)
        hidden = expansion * in_features
        units = [
            unit(hidden, hidden, 3, stride, groups=hidden, activation=nnx.relu6),
            unit(hidden, out_features, 1),
        ]
        if expansion != 1:
            units.insert(0, unit(in_features, hidden, 1, activation=nnx.relu6))
        self.units = nnx.List(units)
        self.residual = stride == 1 and in_features == out_features

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``(batch, height, width, in_features)`` to ``(batch, ..., out_features)``."""
        y = x
        for unit in self.units:
            y = unit(y)
        return x + y if self.residual else y


class TorchvisionMobileNetV2(nnx.Module):
    """torchvision's MobileNetV2, without the dropout that it trains with.

    Args:
      num_classes: number of logits.
      dtype: dtype of the computation.
      param_dtype: dtype of the parameters.
      rngs: the key stream ``params``.

    Reference:
      Sandler et al., "MobileNetV2", CVPR 2018.
    """

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        dtype: Dtype = jnp.float32,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        precision = Precision(None, None, dtype, param_dtype)
        shared: dict[str, Any] = {"precision": precision, "rngs": rngs}
        self.stem = ConvNorm(3, STEM_FEATURES, 3, 2, activation=nnx.relu6, **shared)
        self.blocks = nnx.List([InvertedResidual(*shape, **shared) for shape in block_shapes()])
        self.last = ConvNorm(GROUPS[-1][1], LAST_FEATURES, 1, activation=nnx.relu6, **shared)
        self.head = nnx.Linear(LAST_FEATURES, num_classes, rngs=rngs, **precision.dtypes)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Maps images ``(batch, height, width, 3)`` to logits ``(batch, num_classes)``."""
        x = self.stem(images)
        for block in self.blocks:
            x = block(x)
        return self.head(self.last(x).mean((1, 2)))


def create_torchvision(name: str, **kwargs) -> TorchvisionResNet | TorchvisionMobileNetV2:
    """Builds one of torchvision's networks.

    Args:
      name: one of :data:`NAMES`.
      **kwargs: arguments of the network.

    Returns:
      The network.
    """
    family = name.removeprefix("torchvision/")
    if family == "mobilenet_v2":
        return TorchvisionMobileNetV2(**kwargs)
    blocks, depths = RESNET_DEPTHS[family]
    return TorchvisionResNet(blocks, depths, **kwargs)
