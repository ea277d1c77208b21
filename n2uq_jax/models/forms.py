"""The forms a network comes in: same blocks and channels, other units around the convolutions."""

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
from flax import nnx

from n2uq_jax.models.layers import ConvNorm, ConvShape, Precision
from n2uq_jax.nn import RPReLU

Layer = Callable[[jax.Array], jax.Array]
"""A module, or a function without parameters."""


@dataclasses.dataclass(frozen=True)
class Form(abc.ABC):
    """What the blocks of a network are made of.

    Args:
      precision: bit widths and dtypes.
      quantize_downsample: False keeps the 1x1 convolutions of shortcuts float.
    """

    precision: Precision
    quantize_downsample: bool = True

    @abc.abstractmethod
    def unit(self, shape: ConvShape, *, last: bool, rngs: nnx.Rngs) -> Layer:
        """Returns a convolution with its normalization and activation.

        Args:
          shape: the convolution's.
          last: whether it is the last of its block, in front of the sum.
          rngs: the key stream ``params``.

        Returns:
          A module with the attributes ``conv`` and ``norm``.
        """

    def units(self, shapes: Sequence[ConvShape], *, rngs: nnx.Rngs) -> nnx.List[Any]:
        """Returns the units of a block, in order."""
        last = len(shapes) - 1
        return nnx.List(
            [self.unit(shape, last=i == last, rngs=rngs) for i, shape in enumerate(shapes)]
        )

    @abc.abstractmethod
    def sum_activation(self, features: int, *, rngs: nnx.Rngs) -> Layer:
        """Returns what follows the sum of a ResNet's block and its shortcut."""

    def shortcut(self, shape: ConvShape, *, rngs: nnx.Rngs) -> Layer:
        """Returns the 1x1 convolution of a residual that changes its shape."""
        return ConvNorm(
            shape, quantized=self.quantize_downsample, precision=self.precision, rngs=rngs
        )

    def head(self, in_features: int, num_classes: int, *, rngs: nnx.Rngs) -> Layer:
        """Returns the layer that maps pooled features to logits."""
        return nnx.Linear(in_features, num_classes, rngs=rngs, **self.precision.dtypes)


class PreActivation(Form):
    """The paper's form and its float twin: RPReLU, quantizer, convolution, normalization.

    Reference:
      Liu et al., "Nonuniform-to-Uniform Quantization", CVPR 2022, Section 4, and its code.
    """

    def unit(self, shape: ConvShape, *, last: bool, rngs: nnx.Rngs) -> Layer:
        """Returns a :class:`PreActivationUnit`."""
        return PreActivationUnit(shape, precision=self.precision, rngs=rngs)

    def sum_activation(self, features: int, *, rngs: nnx.Rngs) -> Layer:
        """Returns an RPReLU."""
        return RPReLU(features, rngs=rngs, **self.precision.dtypes)


@dataclasses.dataclass(frozen=True)
class PostActivation(Form):
    """torchvision's form: convolution, normalization, activation.

    Args:
      activation: a function of arrays, behind every unit but the last of a block.
    """

    activation: Layer = nnx.relu

    def unit(self, shape: ConvShape, *, last: bool, rngs: nnx.Rngs) -> Layer:
        """Returns a :class:`PostActivationUnit`, without an activation if it is the last."""
        activation = None if last else self.activation
        return PostActivationUnit(shape, activation, precision=self.precision, rngs=rngs)

    def sum_activation(self, features: int, *, rngs: nnx.Rngs) -> Layer:
        """Returns the activation."""
        return self.activation


class PreActivationUnit(ConvNorm):
    """RPReLU, activation quantizer, quantized convolution, batch normalization.

    Args:
      shape: the convolution's.
      precision: bit widths and dtypes.
      rngs: the key stream ``params``.
    """

    def __init__(self, shape: ConvShape, *, precision: Precision, rngs: nnx.Rngs):
        self.activation = RPReLU(shape.in_features, rngs=rngs, **precision.dtypes)
        super().__init__(shape, precision=precision, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``(batch, height, width, in_features)`` to ``(batch, ..., out_features)``."""
        return super().__call__(self.activation(x))


class PostActivationUnit(ConvNorm):
    """A convolution, batch normalization and, maybe, an activation.

    Args:
      shape: the convolution's.
      activation: a function of arrays; None for the identity.
      precision: bit widths and dtypes.
      rngs: the key stream ``params``.
    """

    def __init__(
        self, shape: ConvShape, activation: Layer | None, *, precision: Precision, rngs: nnx.Rngs
    ):
        super().__init__(shape, precision=precision, rngs=rngs)
        self.activation = activation

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``(batch, height, width, in_features)`` to ``(batch, ..., out_features)``."""
        y = super().__call__(x)
        return y if self.activation is None else self.activation(y)
