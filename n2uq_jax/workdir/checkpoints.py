"""Checkpoints through Orbax: asynchronous, whole or absent, and readable on any device count.

A checkpoint is a folder named after its step, with one folder an item. Reading never waits for
other processes; where all of them go on from a checkpoint, they decide together which one it is.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from etils import epath

from n2uq_jax.paths import by_path
from n2uq_jax.workdir import processes
from n2uq_jax.workdir.room import check_room, naming

logger = logging.getLogger(__name__)


class CheckpointError(RuntimeError):
    """No checkpoint in a folder could be read."""


class Damage(Exception):
    """A checkpoint's files are not what was written."""


class Checkpoint(NamedTuple):
    """What was read.

    Args:
      step: number of steps done.
      items: the pytrees that were asked for, by name.
      data: the data iterator's state.
    """

    step: int
    items: dict[str, Any]
    data: dict[str, Any]


class Checkpoints:
    """The checkpoints of one stage, written by all processes together.

    Args:
      directory: created if it is not there.
      keep: number of newest checkpoints to keep, beside the best one.
    """

    def __init__(self, directory: Path, *, keep: int = 2):
        self.directory = directory
        self._keep = keep
        self._writer: ocp.CheckpointManager | None = None

    def restore(self, like: Mapping[str, Any]) -> Checkpoint | None:
        """Reads the newest checkpoint that is not damaged, the same on all processes.

        A damaged one is named in a warning and moved aside, to a folder of the same name that ends
        in ``.damaged``; nothing is deleted. Any other error, such as a lack of permission or of
        memory, ends the run and leaves all checkpoints in place.

        Args:
          like: the structure of each item that is wanted, of arrays or of ``jax.ShapeDtypeStruct``
            with shardings; the arrays come back on those devices, however many wrote them.

        Returns:
          The checkpoint; None if there is none.

        Raises:
          CheckpointError: if there are checkpoints but all are damaged.
        """
        steps = processes.integers_of_first(saved_steps(self.directory)[::-1])
        damaged: dict[int, Damage] = {}
        found = _first_whole(self.directory, steps, like, damaged, together=True)
        if found is not None:
            for step in damaged:
                processes.first_alone("moving aside", partial(self._move_aside, step))
        return found

    def _move_aside(self, step: int) -> None:
        aside = self.directory.with_name(f"{self.directory.name}.damaged")
        aside.mkdir(exist_ok=True)
        number = sum(p.name.split(".")[0] == str(step) for p in aside.iterdir())
        target = aside / (f"{step}.{number}" if number else str(step))
        (self.directory / str(step)).rename(target)
        logger.warning("The damaged checkpoint of step %d is now in %s.", step, target)

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

        Raises:
          OSError: if there is no room for it; what was saved before stays.
        """
        with naming(self.directory):
            if self._writer is None:
                self._writer = _open_writer(self.directory, self._keep)
            self._writer.wait_until_finished()
            check_room(self.directory, sum(leaf.nbytes for leaf in jax.tree.leaves(dict(items))))
            self._writer.save(
                step,
                args=ocp.args.Composite(
                    data=ocp.args.JsonSave(dict(data)),
                    **{name: ocp.args.StandardSave(by_path(item)) for name, item in items.items()},
                ),
                metrics=None if metrics is None else dict(metrics),
                force=True,
            )

    def wait(self) -> None:
        """Returns once everything that was saved is on disk."""
        if self._writer is not None:
            with naming(self.directory):
                self._writer.wait_until_finished()

    def close(self) -> None:
        """Waits, and releases threads."""
        if self._writer is not None:
            with naming(self.directory):
                self._writer.close()


def saved_steps(directory: Path) -> list[int]:
    """Returns the steps that have a finished checkpoint in a folder, in order."""
    if not directory.is_dir():
        return []
    return sorted(int(p.name) for p in directory.iterdir() if p.name.isdigit())


def read_checkpoint(
    directory: Path, like: Mapping[str, Any], *, best: bool = False
) -> Checkpoint | None:
    """Reads a checkpoint, in one process or many, and changes nothing on disk.

    Args:
      directory: of one stage.
      like: as for :meth:`Checkpoints.restore`.
      best: start with the one of the highest top-1 instead of the newest; the newest among equals.

    Returns:
      The first that is not damaged; None if there is none.

    Raises:
      CheckpointError: if there are checkpoints but all are damaged.
    """
    steps = saved_steps(directory)[::-1]
    if best:
        steps.sort(key=lambda step: -_top1(directory, step))
    return _first_whole(directory, steps, like, {}, together=False)


def _first_whole(
    directory: Path,
    steps: Sequence[int],
    like: Mapping[str, Any],
    damaged: dict[int, Damage],
    *,
    together: bool,
) -> Checkpoint | None:
    """Reads one step after the other until one is whole, and notes those that are not."""
    for step in steps:
        found: Checkpoint | None = None
        problem: Exception | None = None
        try:
            found = _read(directory, step, like)
        except Exception as error:  # to be raised below, once the other processes know of it
            problem = error
        severity = 0 if problem is None else 1 if isinstance(problem, Damage) else 2
        worst = processes.largest_of_all(severity) if together else severity
        if worst == 0:
            return found
        if severity == 2 and problem is not None:
            raise problem
        if worst == 2:
            raise CheckpointError(f"{directory / str(step)}: another process could not read it.")
        damaged[step] = problem if isinstance(problem, Damage) else Damage("says another process")
        logger.warning(
            "THE CHECKPOINT OF STEP %d IS DAMAGED and is passed over for an older one (%s). What "
            "it held after that is trained again.",
            step,
            damaged[step],
        )
    if damaged:
        raise CheckpointError(
            f"{directory}: all {len(damaged)} checkpoints are damaged: "
            + "; ".join(f"step {step}: {damage}" for step, damage in damaged.items())
        )
    return None


def _read(directory: Path, step: int, like: Mapping[str, Any]) -> Checkpoint:
    folder = directory / str(step)
    missing = [name for name in (*like, "data") if not (folder / name).is_dir()]
    if missing:
        raise Damage(f"it has no {', '.join(missing)}")
    templates = {
        name: ocp.args.StandardRestore(jax.tree.map(_target, by_path(item)))
        for name, item in like.items()
    }
    alone = ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(), active_processes={jax.process_index()}
    )
    handler = ocp.CompositeCheckpointHandler(
        composite_options=ocp.CompositeOptions(multiprocessing_options=alone)
    )
    with ocp.Checkpointer(handler, multiprocessing_options=alone) as reader:
        try:
            if (folder / "metrics").is_dir():
                json.loads((folder / "metrics" / "metrics").read_text())
            restored = reader.restore(
                epath.Path(folder.absolute()),
                args=ocp.args.Composite(data=ocp.args.JsonRestore(), **templates),
            )
        except Exception as error:
            if (damage := _damage(error)) is not None:
                raise Damage(damage) from error
            raise
    items = {
        name: jax.tree.unflatten(
            jax.tree.structure(item), [restored[name][key] for key in by_path(item)]
        )
        for name, item in like.items()
    }
    return Checkpoint(step, items, dict(restored.data))


def _target(leaf: Any) -> jax.ShapeDtypeStruct:
    target = ocp.utils.to_shape_dtype_struct(leaf)
    if getattr(target, "sharding", None) is not None:
        return target
    # Or it would go to the devices that it was saved from, which may not be here.
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(target.shape, target.dtype, sharding=here)


_STATUS = ("DATA_LOSS", "FAILED_PRECONDITION", "INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE")
"""How TensorStore's errors begin where a file's contents are at fault."""


def _damage(error: BaseException | None) -> str | None:
    """Says how the contents of files made an error; None if it has another cause."""
    while error is not None:
        is_text = isinstance(error, json.JSONDecodeError | UnicodeDecodeError | FileNotFoundError)
        if is_text or (isinstance(error, ValueError) and str(error).startswith(_STATUS)):
            return f"{type(error).__name__}: {error}".splitlines()[0][:200]
        error = error.__cause__
    return None


def _top1(directory: Path, step: int) -> float:
    """Returns the accuracy that a checkpoint was saved with, -1 where there is none to read."""
    try:
        return json.loads((directory / str(step) / "metrics" / "metrics").read_text())["top1"]
    except (OSError, ValueError, KeyError, TypeError):
        return -1.0


class _Writer(ocp.CheckpointManager):
    def reached_preemption(self, step: int) -> bool:
        # Orbax would ask JAX, which wants numbers that grow over the whole run; steps start anew
        # in each stage.
        return False


def _open_writer(directory: Path, keep: int) -> ocp.CheckpointManager:
    managers = ocp.checkpoint_managers
    best = managers.BestN(
        get_metric_fn=lambda metrics: metrics["top1"], n=1, keep_checkpoints_without_metrics=False
    )
    return _Writer(
        epath.Path(directory.absolute()),
        options=ocp.CheckpointManagerOptions(
            preservation_policy=managers.AnyPreservationPolicy([managers.LatestN(keep), best]),
            best_fn=lambda metrics: metrics["top1"],
            cleanup_tmp_directories=True,
        ),
    )
