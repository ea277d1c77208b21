"""Checkpoints through Orbax: asynchronous, whole or absent, and readable on any device count."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from n2uq_jax.paths import by_path

logger = logging.getLogger(__name__)


class CheckpointError(RuntimeError):
    """No checkpoint in a folder could be read."""


class Checkpoints:
    """The checkpoints of one stage, one folder a step.

    Args:
      directory: created if it is not there.
      keep: number of newest checkpoints to keep, beside the best one.
      read_only: never write or delete.
    """

    def __init__(self, directory: Path, *, keep: int = 2, read_only: bool = False):
        preservation = ocp.checkpoint_managers
        self.directory = directory
        self._manager = ocp.CheckpointManager(
            epath.Path(directory.absolute()),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=preservation.AnyPreservationPolicy(
                    [
                        preservation.LatestN(keep),
                        preservation.BestN(
                            get_metric_fn=lambda metrics: metrics["top1"],
                            n=1,
                            keep_checkpoints_without_metrics=False,
                        ),
                    ]
                ),
                best_fn=lambda metrics: metrics["top1"],
                read_only=read_only,
                create=not read_only,
                save_interval_steps=0 if read_only else 1,
                cleanup_tmp_directories=not read_only,
                save_decision_policy=preservation.FixedIntervalPolicy(1),
            ),
        )

    def steps(self) -> list[int]:
        """Returns the steps that have a finished checkpoint, in order."""
        return sorted(self._manager.all_steps())

    def save(
        self,
        step: int,
        items: Mapping[str, Any],
        data: Mapping[str, Any],
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Starts to write a checkpoint; training may go on at once.

        Args:
          step: number of steps done.
          items: pytrees of arrays by name, which can be restored apart.
          data: the data iterator's state, JSON-able.
          metrics: of an evaluation at this step, with ``top1``; None if there was none.
        """
        self._manager.save(
            step,
            args=ocp.args.Composite(
                data=ocp.args.JsonSave(dict(data)),
                **{name: ocp.args.StandardSave(by_path(item)) for name, item in items.items()},
            ),
            metrics=None if metrics is None else dict(metrics),
        )

    def restore(
        self, like: Mapping[str, Any], *, best: bool = False
    ) -> tuple[int, dict[str, Any], dict[str, Any]] | None:
        """Reads the newest checkpoint that can be read, or the best.

        A checkpoint that is torn or corrupt is named in a warning and the one before it is read.

        Args:
          like: the structure of each item that is wanted, of arrays or of ``jax.ShapeDtypeStruct``
            with shardings; the arrays come back on those devices, however many wrote them.
          best: start with the one of the highest top-1 instead of the newest.

        Returns:
          The step, the items and the data iterator's state; None if there is no checkpoint.

        Raises:
          CheckpointError: if there are checkpoints but none can be read.
        """
        steps = self.steps()[::-1]
        best_step = self._manager.best_step() if best else None
        if best_step is not None:
            steps = [best_step, *(s for s in steps if s != best_step)]
        templates = {
            name: ocp.args.StandardRestore(
                jax.tree.map(ocp.utils.to_shape_dtype_struct, by_path(item))
            )
            for name, item in like.items()
        }
        failures = []
        for step in steps:
            try:
                restored = self._manager.restore(
                    step,
                    args=ocp.args.Composite(data=ocp.args.JsonRestore(), **templates),
                )
            except Exception as error:  # whatever a damaged file makes the readers raise
                failures.append(f"step {step}: {type(error).__name__}: {error}".splitlines()[0])
                logger.warning(
                    "THE CHECKPOINT OF STEP %d CANNOT BE READ and is passed over for an older one "
                    "(%s). What it held after that is trained again.",
                    step,
                    failures[-1],
                )
                continue
            items = {
                name: jax.tree.unflatten(
                    jax.tree.structure(item), [restored[name][key] for key in by_path(item)]
                )
                for name, item in like.items()
            }
            return step, items, dict(restored.data)
        if failures:
            raise CheckpointError(
                f"{self.directory}: none of {len(failures)} checkpoints can be read: "
                + "; ".join(failures)
            )
        return None

    def discard_after(self, step: int) -> None:
        """Deletes the checkpoints after a step, such as damaged ones that were passed over.

        Args:
          step: the last one that stays.
        """
        for later in self.steps():
            if later > step:
                self._manager.delete(later)

    def wait(self) -> None:
        """Returns once everything that was saved is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, and releases threads."""
        self._manager.close()
