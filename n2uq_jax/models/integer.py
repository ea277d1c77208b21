"""The integer-only form of the networks: integers from uint8 pixels to logits."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from n2uq_jax.models.forms import PreActivation, PreActivationUnit
from n2uq_jax.models.layers import ConvNorm, ConvShape, conv
from n2uq_jax.models.mobilenet_v2 import (
    LAST_CONV,
    InvertedResidual,
    InvertedResidualNetwork,
    block_shapes,
    stem_conv,
)
from n2uq_jax.models.resnet import ResidualBlock, ResidualNetwork, ResNetShape
from n2uq_jax.nn import PACT, QuantConv
from n2uq_jax.nn.integer import (
    Grid,
    IntegerBatchNorm,
    IntegerConv,
    IntegerLinear,
    IntegerRPReLU,
    Pixels,
    add,
    average_pool,
    max_pool,
    relu,
)
from n2uq_jax.quantizers import QArray

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class IntegerOnly(PreActivation):
    """The paper's form in integers: what is added lies on a grid.

    The units are the paper's, parameter by parameter, but for what writes into the residual
    stream: the last normalization of a block, its shortcut's and the activation of their sum.
    Where a block changes its shape, it begins a stream with a grid of its own.

    Args:
      precision: bit widths, which must be given, and dtypes of training.
      quantize_downsample: False gives the 1x1 convolutions of shortcuts weights and inputs of
        ``stem_bits`` instead of the others' few.
      stream_bits: of the residual stream, 8 to 16.
      stem_bits: of the first convolution's weights, 2 to 8.
      head_bits: of the last layer's weights and inputs, 2 to 8.
      mean: of pixels divided by 255, per channel.
      std: of pixels divided by 255, per channel.

    Raises:
      ValueError: if there are no bit widths, or one is out of its range.
    """

    stream_bits: int = 16
    stem_bits: int = 8
    head_bits: int = 8
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self):
        if self.precision.w_bits is None:
            raise ValueError(
                "integer_only=True wants w_bits and a_bits, got None: the float twin has no "
                "integers. Train it as it is, and then the integer-only network from it."
            )
        for name, low, high in (("stream", 8, 16), ("stem", 2, 8), ("head", 2, 8)):
            bits = getattr(self, f"{name}_bits")
            if isinstance(bits, bool) or not isinstance(bits, int) or not low <= bits <= high:
                raise ValueError(f"{name}_bits must be an int from {low} to {high}, got {bits!r}.")

    def grid(self) -> Grid:
        """Returns a new grid for a residual stream."""
        return Grid(self.stream_bits)

    def pixels(self, in_features: int) -> Pixels:
        """Returns the layer that reads images."""
        if len(self.mean) != in_features or len(self.std) != in_features:
            raise ValueError(
                f"mean and std must have {in_features} numbers, one a channel of the images; got "
                f"{tuple(self.mean)} and {tuple(self.std)}."
            )
        return Pixels(self.mean, self.std)

    def stem_conv(
        self, shape: ConvShape, *, input_bits: int | None = None, rngs: nnx.Rngs
    ) -> IntegerConv:
        """Returns a convolution of ``stem_bits``; of pixels, or of inputs rounded to a grid."""
        return IntegerConv(
            shape.in_features,
            shape.out_features,
            (shape.kernel_size, shape.kernel_size),
            (shape.stride, shape.stride),
            padding=((shape.kernel_size // 2, shape.kernel_size // 2),) * 2,
            bits=self.stem_bits,
            input_bits=input_bits,
            kernel_init=nnx.initializers.variance_scaling(2.0, "fan_out", "normal"),
            rngs=rngs,
            **self.precision.dtypes,
        )

    def norm(self, features: int, *, rngs: nnx.Rngs) -> IntegerBatchNorm:
        """Returns a normalization that writes into a stream."""
        return IntegerBatchNorm(features, rngs=rngs, **self.precision.dtypes)

    def unit(self, shape: ConvShape, *, last: bool, rngs: nnx.Rngs) -> Any:
        """Returns a unit of the paper's, or an :class:`IntegerUnit` if it is the last."""
        if last:
            return IntegerUnit(shape, form=self, rngs=rngs)
        return super().unit(shape, last=last, rngs=rngs)

    def sum_activation(self, features: int, *, rngs: nnx.Rngs) -> Any:
        """Returns an integer RPReLU."""
        return IntegerRPReLU(features, rngs=rngs, **self.precision.dtypes)

    def shortcut(self, shape: ConvShape, *, rngs: nnx.Rngs) -> Any:
        """Returns a 1x1 convolution that writes into a stream."""
        return IntegerShortcut(shape, form=self, rngs=rngs)

    def head(
        self, in_features: int, num_classes: int, *, signed: bool = True, rngs: nnx.Rngs
    ) -> Any:
        """Returns the last layer, whose inputs are never negative if not ``signed``."""
        return IntegerLinear(
            in_features,
            num_classes,
            bits=self.head_bits,
            input_bits=self.head_bits,
            signed=signed,
            rngs=rngs,
            **self.precision.dtypes,
        )


class IntegerUnit(PreActivationUnit):
    """A unit of the paper's that ends in a residual stream.

    Args:
      shape: the convolution's.
      form: makes the normalization.
      rngs: the key stream ``params``.
    """

    def __init__(self, shape: ConvShape, *, form: IntegerOnly, rngs: nnx.Rngs):
        super().__init__(shape, precision=form.precision, rngs=rngs)
        self.conv: Any
        self.norm: Any = form.norm(shape.out_features, rngs=rngs)

    def __call__(self, x: jax.Array, grid: Grid) -> QArray:  # type: ignore[override]
        """Maps real ``(batch, height, width, in_features)`` to integers on the grid."""
        sums = self.conv.sums(self.activation(x), integer=self.norm.deterministic)
        return self.norm(sums, grid)


class IntegerShortcut(ConvNorm):
    """A shortcut from one residual stream to another.

    Args:
      shape: the convolution's.
      form: makes the layers.
      rngs: the key stream ``params``.
    """

    def __init__(self, shape: ConvShape, *, form: IntegerOnly, rngs: nnx.Rngs):
        super().__init__(shape, precision=form.precision, rngs=rngs)
        self.norm: Any = form.norm(shape.out_features, rngs=rngs)
        self.conv: Any
        if not form.quantize_downsample:
            self.conv = form.stem_conv(shape, input_bits=form.stem_bits, rngs=rngs)

    def __call__(self, x: QArray, grid: Grid) -> QArray:  # type: ignore[override]
        """Maps integers of one stream to integers on another's grid."""
        if isinstance(self.conv, QuantConv):
            sums = self.conv.sums(x.dequantize(), integer=self.norm.deterministic)
        else:
            sums = self.conv(x)
        return self.norm(sums, grid)


def run_units(units: Sequence[Any], x: QArray, grid: Grid) -> QArray:
    """Runs the units of a block: values between them are read by thresholds alone.

    Args:
      units: all but the last map real values to real values.
      x: integers of a residual stream.
      grid: what the result lies on.

    Returns:
      Integers on the grid.
    """
    values = x.dequantize()
    for unit in units[:-1]:
        values = unit(values)
    return units[-1](values, grid)


class IntegerResidualBlock(ResidualBlock):
    """Units around a shortcut, and an RPReLU of their sum, in integers.

    Args:
      shapes: the convolutions of the units, in order.
      form: makes the units, the shortcut and the activation.
      rngs: the key stream ``params``.

    Attributes:
      grid: of the stream that begins here; None where the block adds to the one it reads.
    """

    def __init__(self, shapes: Sequence[ConvShape], *, form: IntegerOnly, rngs: nnx.Rngs):
        super().__init__(shapes, form=form, rngs=rngs)
        self.grid = nnx.data(None) if self.shortcut is None else form.grid()

    def __call__(self, x: QArray, grid: Grid) -> QArray:  # type: ignore[override]
        """Maps integers of a stream to integers on ``grid``."""
        residual = x if self.shortcut is None else self.shortcut(x, grid)
        return self.activation(add(run_units(self.units, x, grid), residual), grid)


class IntegerInvertedResidual(InvertedResidual):
    """Units, and their sum with the input where the shape does not change, in integers.

    Args:
      shapes: the convolutions of the units, in order.
      form: makes the units.
      rngs: the key stream ``params``.

    Attributes:
      grid: of the stream that begins here; None where the block adds to the one it reads.
    """

    def __init__(self, shapes: Sequence[ConvShape], *, form: IntegerOnly, rngs: nnx.Rngs):
        super().__init__(shapes, form=form, rngs=rngs)
        self.grid = nnx.data(None) if self.residual else form.grid()

    def __call__(self, x: QArray, grid: Grid) -> QArray:  # type: ignore[override]
        """Maps integers of a stream to integers on ``grid``."""
        y = run_units(self.units, x, grid)
        if not self.residual:
            return y
        return grid.fit(add(x, y).codes)


def run_blocks(blocks: Sequence[Any], x: QArray, grid: Grid) -> tuple[QArray, Grid]:
    """Runs blocks, each on the grid of its stream.

    Args:
      blocks: modules with an attribute ``grid``.
      x: integers on ``grid``.
      grid: of the first stream.

    Returns:
      Integers of the last stream, and its grid.
    """
    for block in blocks:
        grid = grid if block.grid is None else block.grid
        x = block(x, grid)
    return x, grid


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
      form: bit widths and pixels.
      in_features: channels of the images.
      num_classes: number of logits.
      rngs: the key stream ``params``.

    Raises:
      ValueError: if the form does not fit the images' channels.
    """

    image_dtype = jnp.uint8

    def __init__(
        self,
        *,
        form: IntegerOnly,
        in_features: int = 3,
        num_classes: int = 1000,
        rngs: nnx.Rngs,
    ):
        first, precision = stem_conv(in_features), form.precision
        assert precision.a_bits is not None
        self.form = form
        self.pixels = form.pixels(in_features)
        self.conv = form.stem_conv(first, rngs=rngs)
        self.norm = form.norm(first.out_features, rngs=rngs)
        self.grid = form.grid()
        super().__init__(block_shapes(), form=form, make_block=IntegerInvertedResidual, rngs=rngs)
        self.last_activation = PACT(precision.a_bits, param_dtype=precision.param_dtype)
        self.last_conv: Any = conv(LAST_CONV, quantize_input=False, precision=precision, rngs=rngs)
        self.last_norm = form.norm(LAST_CONV.out_features, rngs=rngs)
        self.last_grid = form.grid()
        self.head = form.head(LAST_CONV.out_features, num_classes, signed=False, rngs=rngs)

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
