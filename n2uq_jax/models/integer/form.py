"""What blocks of integers are made of: the paper's form, around a fixed-point stream."""

import dataclasses
from typing import Any

import jax
from flax import nnx

from n2uq_jax.models.forms import PreActivation, PreActivationUnit
from n2uq_jax.models.layers import ConvNorm, ConvShape
from n2uq_jax.nn import QuantConv
from n2uq_jax.nn.integer import (
    Grid,
    IntegerBatchNorm,
    IntegerConv,
    IntegerLinear,
    IntegerRPReLU,
    Pixels,
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
