"""What a run keeps when its configuration has changed: the stages that did not depend on it."""

import dataclasses
import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from n2uq_jax.workdir.checkpoints import saved_steps
from n2uq_jax.workdir.stages import is_integer_only

QUANTIZED_ONLY = ("model.w_bits", "model.a_bits", "model.method", "model.integer_only")
"""Fields that a float twin does not depend on."""

INTEGER_ONLY = ("model.stream_bits", "model.stem_bits", "model.head_bits")
"""Fields that networks of the integer-only form alone depend on."""


GROUPS = ("model", "data", "mesh")
"""All other groups of fields are stages."""


@dataclasses.dataclass(frozen=True)
class Changes:
    """What has changed since a run was last here, and what that means for its stages.

    Args:
      fields: what each changed field was and is, without those that change no result.
      anew: stages with checkpoints that must start anew, and why.
      kept: stages with checkpoints that go on.
    """

    fields: Mapping[str, tuple[Any, Any]]
    anew: Mapping[str, str]
    kept: Sequence[str]

    def __str__(self) -> str:
        was = "; ".join(
            f"{name} was {a!r} and is now {b!r}" for name, (a, b) in self.fields.items()
        )
        anew = "".join(f"; {name} must start anew, for {why}" for name, why in self.anew.items())
        kept = f"; kept: {', '.join(self.kept)}" if self.kept else ""
        return f"{was}{anew}{kept}"


def changes(
    found: Mapping[str, Any], wanted: Mapping[str, Any], free: Sequence[str], checkpoints: Path
) -> Changes:
    """Compares two ``config.json`` field by field with what each stage depends on.

    Args:
      found: what the workdir holds.
      wanted: what is to be trained.
      free: patterns of fields that change no result.
      checkpoints: the folder with one folder a stage.

    Returns:
      What has changed, and which stages must start anew.
    """
    before, now = _flat(found), _flat(wanted)
    fields = {
        field: (before.get(field), now.get(field))
        for field in now | before
        if before.get(field) != now.get(field)
        and not any(fnmatch.fnmatchcase(field, f"config.{name}") for name in free)
    }
    stages = list(wanted["config"].get("stages", ()))
    # A stage that is left out now may be named again later: a change must reach it all the same.
    left_out = [s for s in found["config"] if s not in stages and saved_steps(checkpoints / s)]
    anew: dict[str, str] = {}
    for stage in [*stages, *left_out]:
        settings = [config[stage] for config in _configs(found, wanted) if stage in config]
        causes = [field for field in fields if _concerns(field, stage, found, wanted)]
        causes += [
            f"stage {source}"
            for part in settings
            for source in (part.get("init"), part.get("teacher"))
            if source in anew and f"stage {source}" not in causes
        ]
        if causes:
            anew[stage] = f"it depends on {', '.join(dict.fromkeys(causes))}"
    trained = [stage for stage in stages if saved_steps(checkpoints / stage)]
    return Changes(
        fields,
        {stage: why for stage, why in anew.items() if stage in (*trained, *left_out)},
        [stage for stage in trained if stage not in anew],
    )


def set_aside(checkpoints: Path, stage: str) -> Path:
    """Moves the checkpoints of a stage out of the way; nothing is deleted.

    Args:
      checkpoints: the folder with one folder a stage.
      stage: its name.

    Returns:
      Where they are now.
    """
    number = 1
    while (target := checkpoints / f"{stage}.before.{number}").exists():
        number += 1
    (checkpoints / stage).rename(target)
    return target


def _concerns(field: str, stage: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether what a stage has learned depends on a field, in the run that was or is to be."""
    name = field.removeprefix("config.")
    if name == field:
        return True  # of the data set
    if name == "stages":
        return False  # a stage's place says nothing of what it starts from
    configs = [config for config in _configs(found, wanted) if stage in config]
    if name in QUANTIZED_ONLY:
        return any(config[stage]["quantized"] for config in configs)
    if name in INTEGER_ONLY:
        return any(is_integer_only(config, stage) for config in configs)
    group, _, rest = name.partition(".")
    return group == stage if rest and group not in GROUPS else True


def _configs(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [found["config"], wanted["config"]]


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {name: value}
    flat: dict[str, Any] = {}
    for key, child in value.items():
        flat |= _flat(child, f"{name}.{key}" if name else key)
    return flat
