"""What a stage says of itself: its measurements and its progress bar."""

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from n2uq_jax.progress import PATIENCE
from n2uq_jax.training.diagnostics import changed_share, make_diagnostics, make_weight_codes
from n2uq_jax.training.profile import StepProfile
from n2uq_jax.training.state import GraphDefs, TrainState

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from n2uq_jax.training.stage import Stage


class NonFiniteLossError(RuntimeError):
    """The loss became NaN or infinite; nothing was saved after that step."""


def progress_bar(console: Console) -> Progress:
    """Returns a progress bar whose tasks have a text field ``status``."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[status]}"),
        console=console,
    )


class StageLog:
    """Collects what steps measure and writes it now and then, without holding the device up."""

    def __init__(self, stage: "Stage", graphdefs: GraphDefs, schedule: Callable[[int], Any]):
        self._stage = stage
        self._schedule = schedule
        self._quantized = stage.settings.quantized
        if self._quantized:
            self._diagnose = make_diagnostics(graphdefs, stage.pixels)
            self._codes = make_weight_codes(graphdefs)
            self._last_codes: dict[str, jax.Array] | None = None
        self._task: TaskID = stage.progress.add_task(
            f"{stage.name:10}", total=stage.total_steps, status=""
        )
        self._pending: list[tuple[int, dict[str, jax.Array]]] = []
        self.restart_clock()

    def profile(self) -> StepProfile:
        """Returns the profile that the configuration asks for, of the first process alone."""
        writer = self._stage.writer
        steps = None if writer is None else self._stage.config.profile_steps
        return StepProfile(steps, None if writer is None else writer.board)

    def compiling(self) -> None:
        """Says what the first step is about to do."""
        self._stage.progress.update(self._task, status="compiling the training step")

    def compiled(self) -> None:
        """Says how long the first step took, and leaves it out of the reported speed."""
        seconds = time.perf_counter() - self._started
        self._stage.progress.update(self._task, status=f"compiled in {seconds:.0f} s")
        if seconds > PATIENCE and self._stage.writer is not None:
            logger.info(
                "stage %s: the first step took %.0f s to compile", self._stage.name, seconds
            )
        self.restart_clock()

    def restart_clock(self) -> None:
        """Leaves out of the reported speed what came before."""
        self._started, self._waited, self._steps = time.perf_counter(), 0.0, 0

    def add(self, step: int, measured: dict[str, jax.Array], waited: float) -> None:
        """Takes a step's measurements, still on the device, and the seconds it waited for data.

        Args:
          step: its number.
          measured: scalars by name.
          waited: seconds.
        """
        self._pending.append((step, measured))
        self._waited += waited
        self._steps += 1
        self._stage.progress.update(self._task, completed=step)

    def write(self, step: int, state: TrainState, batch: dict[str, jax.Array]) -> None:
        """Checks the losses of all steps since the last call, and writes one line.

        Args:
          step: the last one.
          state: after that step.
          batch: of that step.
        """
        measured = jax.device_get(self._pending)
        self._pending = []
        seconds = time.perf_counter() - self._started
        for number, values in measured:
            if not np.isfinite(values["loss"]):
                raise NonFiniteLossError(
                    f"the loss of stage {self._stage.name!r} is {values['loss']} at step {number}. "
                    "The last checkpoint is from before it. A lower learning_rate, or float32 "
                    "instead of bfloat16, may help."
                )
        if not measured:
            return
        values = {name: float(np.mean([m[name] for _, m in measured])) for name in measured[0][1]}
        rate = float(self._schedule(step - 1))
        per_step = seconds / max(1, self._steps)
        values |= {
            "learning_rate": rate,
            "quantizer_learning_rate": rate * self._stage.settings.quantizer_lr_factor,
            "images_per_second": self._stage.config.batch_size / per_step,
            "step_seconds": per_step,
            "data_wait_share": self._waited / max(seconds, 1e-9),
        }
        if self._quantized:
            found = self._diagnose(state.params, state.batch_stats, batch["image"])
            values |= {name: float(value) for name, value in found.items()}
            codes = self._codes(state.params, state.batch_stats)
            if self._last_codes is not None:
                values["changed_code_share"] = changed_share(self._last_codes, codes)
            self._last_codes = codes
        self._write("train", step, values)
        self._stage.progress.update(
            self._task, status=f"loss {values['loss']:.3f}  top-1 {values['top1']:.1%}"
        )
        self.restart_clock()

    def write_evaluation(self, step: int, metrics: dict[str, float]) -> None:
        """Writes the line of an evaluation."""
        self._write("eval", step, metrics)

    def _write(self, kind: str, step: int, values: dict[str, float]) -> None:
        if self._stage.writer is not None:
            epoch = step / self._stage.steps_per_epoch
            self._stage.writer.write(self._stage.name, kind, step, {"epoch": epoch, **values})
