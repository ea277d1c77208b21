"""What a run will be: its data, its stages, their memory and steps, and its last network."""

import dataclasses
import os
from pathlib import Path

from ml_collections import ConfigDict

from n2uq_jax.data import Dataset
from n2uq_jax.preflight.layers import NetworkCheck, check
from n2uq_jax.tables import format_table
from n2uq_jax.training import sharding
from n2uq_jax.training.checks import check_config, check_fit
from n2uq_jax.training.rehearsal import RehearsedStage, rehearse
from n2uq_jax.workdir.checkpoints import saved_steps
from n2uq_jax.workdir.config_json import read_workdir, without_sentinels
from n2uq_jax.workdir.model import abstract_model, open_dataset, precision
from n2uq_jax.workdir.stages import network_kind, title


@dataclasses.dataclass(frozen=True)
class RunCheck:
    """A run that nothing stands in the way of; prints as two tables.

    Args:
      config: its configuration.
      dataset: what it trains on.
      devices: how many there are.
      stages: its stages, rehearsed.
      network: the layers of the last one.
    """

    config: ConfigDict
    dataset: Dataset
    devices: int
    stages: tuple[RehearsedStage, ...]
    network: NetworkCheck

    def __str__(self) -> str:
        data, size = self.dataset, "x".join(map(str, self.dataset.image_shape))
        header = ("stage", "network", "starts from", "taught by", "steps", "MB a device, about")
        rows = [header, *(self._row(stage) for stage in self.stages)]
        return (
            f"{title(self.config)}: {len(data.train):,} images of {size} to "
            f"train on, {len(data.evaluation):,} to evaluate on, {data.num_classes} classes; "
            f"{self.devices} device{'s' * (self.devices > 1)}\n\n"
            f"{format_table(rows, right=(4, 5))}\n\nstage {self.stages[-1].name}:\n{self.network}"
        )

    def _row(self, stage: RehearsedStage) -> tuple[str, ...]:
        settings = self.config[stage.name]
        memory = "" if stage.memory is None else f"{stage.memory.total / 1e6:,.0f}"
        return (
            stage.name,
            network_kind(self.config, stage.name),
            settings.init or "random values",
            settings.teacher or "labels",
            f"{stage.steps:,}",
            memory,
        )


def check_run(config: ConfigDict) -> RunCheck:
    """Checks a configuration against everything that it names, and traces all of its stages.

    Every field is validated; the data set, first parameters and teachers are looked up; each
    network, teacher and training step is traced. No array is computed and nothing written, but
    weights that ``init`` or ``teacher_weights`` name are read, and downloaded if they are on a hub.

    Args:
      config: see :func:`n2uq_jax.training.config.default_config`.

    Returns:
      What the run will be.

    Raises:
      ValueError: if the configuration contradicts itself, or a part does not fit another.
      FileNotFoundError: if the data set, or what a stage starts from, is not there.
    """
    config = ConfigDict(without_sentinels(config.to_dict()))
    check_config(config)
    with precision(config.x64):
        mesh = sharding.make_mesh(**config.mesh.to_dict())
        sharding.check_batch(mesh, "batch_size", config.batch_size, config.accumulate)
        sharding.check_batch(mesh, "eval_batch_size", config.eval_batch_size)
        dataset = open_dataset(config.data.to_dict())
        check_fit(config, dataset)
        stages = rehearse(config, dataset, mesh, trace_steps=True)
        network = check(stages[-1].model, dataset.image_shape)
    return RunCheck(config, dataset, mesh.size, tuple(stages), network)


def check_workdir(workdir: str | os.PathLike[str]) -> str:
    """Says what a run has come to, and what the network of its last stage is.

    Args:
      workdir: what ``n2uq train`` or ``n2uq import`` wrote.

    Returns:
      A table of its stages, and one of the layers of the last stage that has a checkpoint.

    Raises:
      FileNotFoundError: if it is no workdir.
      ValueError: if its ``config.json`` is damaged.
    """
    contents = read_workdir(workdir)
    config, about = contents["config"], contents["dataset"]
    saved = {name: saved_steps(Path(workdir) / "checkpoints" / name) for name in config["stages"]}
    rows: list[tuple[str, ...]] = [("stage", "network", "checkpoints at steps")]
    for name, steps in saved.items():
        kind = network_kind(config, name)
        rows.append((name, kind, ", ".join(f"{step:,}" for step in steps) or "none yet"))
    last = next((name for name in reversed(saved) if saved[name]), config["stages"][-1])
    with precision(config["x64"]):
        network = check(abstract_model(config, about, last), about["image_shape"])
    return f"{title(config)}\n\n{format_table(rows)}\n\nstage {last}:\n{network}"
