"""The integer program: products and thresholds on integers, and the float rest as it was."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax
import numpy as np

from n2uq_jax.export.program.execution import Execution, Tensors
from n2uq_jax.export.program.interpreter import Steps
from n2uq_jax.export.thresholds.thresholds import Thresholds
from n2uq_jax.export.trace.model import TracedModel
from n2uq_jax.export.trace.network import TracedNetwork
from n2uq_jax.primitives import MOVES


@dataclasses.dataclass(frozen=True)
class IntegerProgram:
    """A network whose products and thresholds run on integers.

    Calling it maps images to logits. Whatever the network computes on integers stays so; its
    residual sums, first convolution, pooling and head are the network's own float arithmetic
    unless it has them in integers.

    Args:
      traced: the network, whose trace the program follows.
      tensors: integer weight codes and constants, and the float parameters that are left.
      thresholds: of the quantizers that read integers alone.
      unfolded: the other quantizers, and why.
    """

    traced: TracedModel
    tensors: Mapping[str, np.ndarray]
    thresholds: Mapping[str, Thresholds]
    unfolded: Mapping[str, str]

    def __call__(self, images: jax.Array | np.ndarray) -> jax.Array:
        """Returns the logits of ``images``, shape ``(batch, *image_shape)``."""
        return self.codes(images)[0]

    def codes(self, images: jax.Array | np.ndarray) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Returns the logits, and the codes of every quantizer by name.

        Args:
          images: shape ``(batch, *image_shape)``, as the network takes them.
        """
        return self._jitted(self.tensors, self.thresholds, images)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """``(height, width, channels)``."""
        return self.traced.image_shape

    @property
    def folded(self) -> dict[str, int]:
        """The quantizers that became integer thresholds, with their largest codes."""
        return {name: thresholds.max_code for name, thresholds in self.thresholds.items()}

    @property
    def integer_only(self) -> bool:
        """Whether nothing is float between images and logits but the last scale."""
        return (
            not self.unfolded
            and all(op.name in MOVES or op.name == "mul" for op in self._float_ops)
            and sum(op.name == "mul" for op in self._float_ops) <= 1
        )

    @property
    def _float_ops(self):
        return Steps(self.network(1), self.thresholds).float_ops

    def network(self, batch) -> TracedNetwork:
        """Returns the network's trace for a batch size, which may be symbolic.

        Args:
          batch: number of images, or a symbolic dimension.
        """
        return self.traced.at(batch)

    def run(
        self, tensors: Tensors, thresholds: Mapping[str, Thresholds], images: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Executes the program; a pure function, for ``jax.jit`` and ``jax.export``.

        Args:
          tensors: arrays with the names and shapes of ``self.tensors``.
          thresholds: those of ``self.thresholds``.
          images: shape ``(batch, *image_shape)``.

        Returns:
          Logits, and the integer codes of every quantizer by name.
        """
        return Execution(self.network(images.shape[0]), tensors, thresholds, images).results()

    @functools.cached_property
    def _jitted(self) -> Callable:
        return jax.jit(self.run)
