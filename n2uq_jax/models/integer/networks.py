"""The integer-only form of the networks: integers from uint8 pixels to logits."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from n2uq_jax.models.integer.blocks import (
    IntegerInvertedResidual,
    IntegerResidualBlock,
    run_blocks,
)
from n2uq_jax.models.integer.form import IntegerOnly
from n2uq_jax.models.layers import conv
from n2uq_jax.models.mobilenet_v2 import (
    InvertedResidualNetwork,
    MobileNetShape,
    last_activation,
)
from n2uq_jax.models.resnet import ResidualNetwork, ResNetShape
from n2uq_jax.nn.integer import average_pool, max_pool, relu
from n2uq_jax.quantizers import QArray


class IntegerResNet(ResidualNetwork):
    """A residual network that is integer arithmetic from pixels to logits.

    Its parameters are those of :class:`~n2uq_jax.models.resnet.ResNet`, one to one.

    Args:
      shape: the convolutions.
      form: bit widths and pixels.
      num_classes: number of logits.
      rngs: the key stream ``params``.

    Raises:
      ValueError: if the form does not fit the images' channels.
    """

    image_dtype = jnp.uint8

    def __init__(
        self, shape: ResNetShape, *, form: IntegerOnly, num_classes: int = 1000, rngs: nnx.Rngs
    ):
        self.shape, self.form = shape, form
        self.pixels = form.pixels(shape.in_features)
        self.conv = form.stem_conv(shape.stem_conv, rngs=rngs)
        self.norm = form.norm(shape.widths[0], rngs=rngs)
        self.grid = form.grid()
        self.pool = shape.stem == "imagenet"
        super().__init__(shape, num_classes, form=form, make_block=IntegerResidualBlock, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Classifies.

        Args:
          images: pixels, uint8, shape ``(batch, height, width, in_features)``.

        Returns:
          Logits, shape ``(batch, num_classes)``: integers times one scale.
        """
        x, _ = run_blocks([b for stage in self.stages for b in stage], self.stem(images), self.grid)
        return self.head(average_pool(x)).dequantize()

    def stem(self, images: jax.Array) -> QArray:  # type: ignore[override]
        """Maps images to the first residual stream."""
        x = relu(self.norm(self.conv(self.pixels(images)), self.grid))
        return max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1))) if self.pool else x


class IntegerMobileNetV2(InvertedResidualNetwork):
    """A MobileNetV2 that is integer arithmetic from pixels to logits.

    Its parameters are those of :class:`~n2uq_jax.models.mobilenet_v2.MobileNetV2`, one to one.

    Args:
      shape: the convolutions.
      form: bit widths and pixels.
      num_classes: number of logits.
      rngs: the key stream ``params``.

    Raises:
      ValueError: if the form does not fit the images' channels.
    """

    image_dtype = jnp.uint8

    def __init__(
        self, shape: MobileNetShape, *, form: IntegerOnly, num_classes: int = 1000, rngs: nnx.Rngs
    ):
        precision = form.precision
        self.shape, self.form = shape, form
        self.pixels = form.pixels(shape.in_features)
        self.conv = form.stem_conv(shape.stem_conv, rngs=rngs)
        self.norm = form.norm(shape.stem_features, rngs=rngs)
        self.grid = form.grid()
        super().__init__(shape.blocks, form=form, make_block=IntegerInvertedResidual, rngs=rngs)
        self.last_activation: Any = last_activation(precision)
        last: dict[str, Any] = {"quantize_input": False, "precision": precision, "rngs": rngs}
        self.last_conv: Any = conv(shape.last_conv, **last)
        self.last_norm = form.norm(shape.last_features, rngs=rngs)
        self.last_grid = form.grid()
        self.head = form.head(shape.last_features, num_classes, signed=False, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Classifies.

        Args:
          images: pixels, uint8, shape ``(batch, height, width, in_features)``.

        Returns:
          Logits, shape ``(batch, num_classes)``: integers times one scale.
        """
        x, _ = run_blocks(self.blocks, self.stem(images), self.grid)
        return self.head(average_pool(self.last(x))).dequantize()

    def stem(self, images: jax.Array) -> QArray:  # type: ignore[override]
        """Maps images to the first residual stream."""
        return relu(self.norm(self.conv(self.pixels(images)), self.grid), 6.0)

    def last(self, x: QArray) -> QArray:  # type: ignore[override]
        """Maps the last block's output to the features that are averaged."""
        codes = self.last_activation(x.dequantize())
        sums = self.last_conv.sums(codes, integer=self.last_norm.deterministic)
        return relu(self.last_norm(sums, self.last_grid), 6.0)
