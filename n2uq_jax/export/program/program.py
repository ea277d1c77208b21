"""The integer program: products and thresholds on integers, and the float rest as it was."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from n2uq_jax.export.program.execution import Execution, Tensors
from n2uq_jax.export.trace.network import TracedNetwork
from n2uq_jax.export.trace.reference import Function
from n2uq_jax.export.trace.tracing import trace


@dataclasses.dataclass(frozen=True)
class IntegerProgram:
    """A network whose products and thresholds run on integers.

    Calling it maps images to logits. Residual sums, the first convolution, pooling and the head
    are the network's own float arithmetic; everything else is integer.

    Args:
      function: the network, ``function(parameters, images)``; the program follows its trace.
      parameters: shapes and dtypes of the network's parameters. Their values are not kept.
      tensors: integer weight codes, integer thresholds, and the float parameters that are left.
      folded: the quantizers that became integer thresholds, with their levels.
      unfolded: the other quantizers, and why.
      image_shape: ``(height, width, channels)``.
    """

    function: Function
    parameters: Mapping[str, jax.ShapeDtypeStruct]
    tensors: Mapping[str, np.ndarray]
    folded: Mapping[str, int]
    unfolded: Mapping[str, str]
    image_shape: tuple[int, ...]

    def __call__(self, images: jax.Array | np.ndarray) -> jax.Array:
        """Returns the logits of ``images``, shape ``(batch, *image_shape)``."""
        return self._jitted(self.tensors, images)[0]

    def codes(self, images: jax.Array | np.ndarray) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Returns the logits, and the codes of every quantizer by name."""
        return self._jitted(self.tensors, images)

    def network(self, images: Any) -> TracedNetwork:
        """Returns the network's trace for images of a shape, which may be symbolic."""
        return TracedNetwork(trace(self.function, self.parameters, images))

    def run(self, tensors: Tensors, images: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Executes the program; a pure function, for ``jax.jit`` and ``jax.export``.

        Args:
          tensors: arrays with the names and shapes of ``self.tensors``.
          images: shape ``(batch, *image_shape)``.

        Returns:
          Logits, and the integer codes of every quantizer by name.
        """
        return Execution(self.network(images), self.folded, tensors, images).results()

    @functools.cached_property
    def _jitted(self) -> Callable:
        return jax.jit(self.run)
