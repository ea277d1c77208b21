"""Where a stage's first parameters and its teacher come from."""

import logging
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from n2uq_jax import models
from n2uq_jax.data import Dataset
from n2uq_jax.paths import by_path
from n2uq_jax.workdir.model import load

logger = logging.getLogger(__name__)


def initialize(model: nnx.Module, source: str | None, trained: Mapping[str, nnx.Module]) -> None:
    """Gives a network its first parameters.

    Args:
      model: changed in place.
      source: None to leave it as it is; the name of a trained stage; a workdir; or a file of
        torchvision's or the authors' weights, or hf:// and the name of a model on the Hugging Face
        hub.
      trained: networks of earlier stages, by name.

    Raises:
      ValueError: if the source's parameters do not fit.
      FileNotFoundError: if it is none of these.
    """
    if source is None:
        return
    if source in trained:
        copy_shared_state(trained[source], model)
    elif (Path(source) / "config.json").is_file():
        copy_shared_state(load(source), model)
    elif Path(source).is_file() or source.startswith("hf://"):
        from n2uq_jax import interop

        report = interop.load_checkpoint(model, source)
        logger.info("%s", report)
    else:
        raise FileNotFoundError(
            f"init must be an earlier stage ({', '.join(trained) or 'there is none'}), a workdir, "
            f"a file of weights or hf:// and a model's name; got {source!r}."
        )


def copy_shared_state(source: nnx.Module, target: nnx.Module) -> None:
    """Copies what two networks have in common: all but the quantizers' parameters of one of them.

    Args:
      source: such as a trained float twin.
      target: such as the quantized network; changed in place.

    Raises:
      ValueError: if the source has state that the target has not, in name or in shape.
    """
    state = nnx.state(target)
    mine, theirs = by_path(state), by_path(nnx.state(source))
    unknown = [
        f"{name} {value.shape}"
        for name, value in theirs.items()
        if name not in mine or mine[name].shape != value.shape
    ]
    if unknown:
        raise ValueError(f"init has state that the network has not: {', '.join(unknown)}.")
    leaves = [jnp.asarray(theirs.get(name, value), value.dtype) for name, value in mine.items()]
    nnx.update(target, jax.tree.unflatten(jax.tree.structure(state), leaves))


def load_teacher(
    settings: ConfigDict, trained: Mapping[str, nnx.Module], dataset: Dataset, config: ConfigDict
) -> nnx.Module | None:
    """Returns the network whose softmax a stage is trained towards.

    Args:
      settings: the stage's, with ``teacher`` and ``teacher_weights``.
      trained: networks of earlier stages, by name.
      dataset: its number of classes is the teacher's.
      config: its seed and dtype are used.

    Returns:
      The teacher in evaluation mode, in bfloat16 unless it is an earlier stage; None for labels.

    Raises:
      ValueError: if ``teacher_weights`` is missing or does not fit.
    """
    name, weights = settings.teacher, settings.teacher_weights
    if name is None:
        return None
    if name in trained:
        teacher = trained[name]
    elif (Path(name) / "config.json").is_file():
        teacher = load(name)
    else:
        if weights is None:
            raise ValueError(
                f"teacher_weights for {name!r} must be a file, or hf:// and a model's name; "
                "got None."
            )
        from n2uq_jax import interop

        teacher = models.create(
            name,
            num_classes=dataset.num_classes,
            dtype=jnp.float64 if config.x64 else jnp.bfloat16,
            rngs=nnx.Rngs(config.seed),
        )
        logger.info("%s", interop.load_checkpoint(teacher, weights))
    teacher.eval()
    return teacher
