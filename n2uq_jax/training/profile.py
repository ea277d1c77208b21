"""A profile of some steps, for TensorBoard."""

from pathlib import Path
from typing import Any

import jax


class StepProfile:
    """Profiles the steps from one to another, of those that a stage takes.

    Args:
      steps: the first and the last; None for no profile.
      directory: of TensorBoard's files; None without ``steps``.
    """

    def __init__(self, steps: tuple[int, int] | None, directory: Path | None):
        self._steps = steps
        self._directory = directory
        self._running = False

    def before(self, step: int) -> None:
        """Starts before the first step."""
        if self._steps is not None and step == self._steps[0]:
            jax.profiler.start_trace(str(self._directory))
            self._running = True

    def after(self, step: int, results: Any, *, last: bool = False) -> None:
        """Stops after the last step.

        Args:
          step: the step that was started.
          results: its arrays, which are waited for.
          last: whether there is no other.
        """
        if self._running and (last or (self._steps is not None and step == self._steps[1])):
            jax.block_until_ready(results)
            jax.profiler.stop_trace()
            self._running = False
