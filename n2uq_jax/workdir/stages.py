"""What a configuration says of a stage's network."""

from collections.abc import Mapping
from typing import Any


def is_integer_only(config: Mapping[str, Any], stage: str) -> bool:
    """Whether a stage's network is the integer-only form.

    Args:
      config: a configuration, of this version or an older one.
      stage: one of its stages.
    """
    settings = config[stage]
    wanted = config["model"].get("integer_only", False) or settings.get("integer_only", False)
    return bool(settings["quantized"] and wanted)


def network_kind(config: Mapping[str, Any], stage: str) -> str:
    """Returns what tables call a stage's network: ``"float32"``, ``"W2A2"``, ...

    Args:
      config: a configuration, of this version or an older one.
      stage: one of its stages.
    """
    if not config[stage]["quantized"]:
        return "float32"
    bits = f"W{config['model']['w_bits']}A{config['model']['a_bits']}"
    method = config["model"].get("method", "n2uq")  # which older runs did not write
    bits += "" if method == "n2uq" else f" {method}"
    return f"{bits}, integers alone" if is_integer_only(config, stage) else bits


def title(config: Mapping[str, Any]) -> str:
    """Returns what tables and pictures of a run are called: its network and its data set.

    Args:
      config: a configuration.
    """
    return f"{config['model']['name']} on {config['data']['name']}"


def teachers(config: Mapping[str, Any]) -> dict[str, str]:
    """Returns by stage whose softmax it is trained towards, where it has a teacher.

    Args:
      config: a configuration.
    """
    named = {stage: config[stage]["teacher"] for stage in config["stages"]}
    return {stage: teacher for stage, teacher in named.items() if teacher}
