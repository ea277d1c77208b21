"""Where measurements go: a JSON-lines file and TensorBoard event files."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from n2uq_jax.workdir.room import check_room, naming


class MetricsWriter:
    """Writes measurements of a run; only the first process of several should make one.

    Args:
      workdir: gets ``metrics.jsonl`` and ``tensorboard/``.

    Attributes:
      board: the folder of TensorBoard's files.
    """

    def __init__(self, workdir: Path):
        from tensorboardX import SummaryWriter

        self.board = workdir / "tensorboard"
        self._path = workdir / "metrics.jsonl"
        self._file = self._path.open("a")
        self._board = SummaryWriter(str(self.board))

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def write(self, stage: str, kind: str, step: int, values: Mapping[str, float]) -> None:
        """Adds one line, and one point to each curve.

        Args:
          stage: the stage's name.
          kind: ``"train"`` or ``"eval"``.
          step: within the stage.
          values: scalars by name; those that are not finite are written as null.

        Raises:
          OSError: if there is no room for it.
        """
        check_room(self._path.parent, 0)
        line: dict[str, Any] = {"stage": stage, "kind": kind, "step": step}
        for name, value in values.items():
            line[name] = value if math.isfinite(value) else None
            if name != "epoch":
                self._board.add_scalar(f"{stage}/{kind}/{name}", value, step)
        with naming(self._path):
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()

    def rewind(self, stage: str, step: int, later_stages: tuple[str, ...] = ()) -> None:
        """Drops what was written after the checkpoint that a run goes on from.

        Args:
          stage: the stage that goes on.
          step: the last one whose lines stay.
          later_stages: stages whose lines go altogether.
        """
        kept = [
            line
            for line in read_metrics(self._path)
            if line["stage"] not in later_stages
            and not (line["stage"] == stage and line["step"] > step)
        ]
        check_room(self._path.parent, self._path.stat().st_size)
        self._file.close()
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
        os.replace(temporary, self._path)
        self._file = self._path.open("a")

    def close(self) -> None:
        """Flushes and closes both."""
        with naming(self._path):
            self._file.close()
        self._board.close()


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Reads a ``metrics.jsonl``, passing over a last line that has no end: a kill has torn it.

    Args:
      path: the file: one JSON object a line, with ``stage``, ``kind`` and ``step``.

    Returns:
      One dict a line.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if a whole line is no such object; the message names it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No metrics at {path}: has this run logged anything yet?")
    *lines, torn = path.read_text().split("\n")
    measurements = []
    for number, line in enumerate([*lines, torn] if torn else lines, 1):
        try:
            row = json.loads(line)
            if not {"stage", "kind", "step"} <= row.keys():
                raise ValueError("it has no stage, kind or step")
            measurements.append(row)
        except (ValueError, AttributeError) as error:
            if number <= len(lines):
                raise ValueError(
                    f"{path}, line {number}, is not a line of metrics: {error}"
                ) from None
    return measurements
