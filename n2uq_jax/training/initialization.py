"""Where a stage's first parameters and its teacher come from."""

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeGuard

import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from n2uq_jax import data, models
from n2uq_jax.data import Dataset
from n2uq_jax.models.copying import copy_shared_state
from n2uq_jax.models.integer.networks import IntegerMobileNetV2, IntegerResNet
from n2uq_jax.models.to_integer import initialize_integer_only, paper_form
from n2uq_jax.nn import QuantizedLayer
from n2uq_jax.spelling import similar
from n2uq_jax.workdir.model import load

logger = logging.getLogger(__name__)

RANGE_BATCHES = 4
"""Number of training batches that set the grids of an integer-only network."""


def initialize(
    model: nnx.Module,
    source: str | None,
    trained: Mapping[str, nnx.Module],
    images: Callable[[], Iterable[Any]] = tuple,
) -> bool:
    """Gives a network its first parameters.

    Args:
      model: changed in place.
      source: None to leave it as it is; the name of a trained stage; a workdir; or a file of
        torchvision's or the authors' weights, or hf:// and the name of a model on the Hugging Face
        hub.
      trained: networks of earlier stages, by name.
      images: returns batches of uint8 images, for the grids of an integer-only network that starts
        from one in the paper's form.

    Returns:
      Whether these include trained quantizers.

    Raises:
      ValueError: if the source's parameters do not fit.
      FileNotFoundError: if it is none of these.
    """
    if source is None:
        return False
    kind = kind_of_init(source, trained)
    if kind == "stage":
        return _copy(trained[source], model, images)
    if kind == "workdir":
        return _copy(load(source), model, images)
    from n2uq_jax import interop

    named = paper_form(model) if has_integer_form(model) else model
    report = interop.load_checkpoint(named, source)
    logger.info("%s", report)
    if named is not model:
        _copy(named, model, images)
    return not any("input_quantizer" in path for path in report.initial)


def kind_of_init(
    source: str, earlier: Iterable[str], field: str = "init"
) -> Literal["stage", "workdir", "weights"]:
    """Says what the first parameters of a stage come from.

    Args:
      source: what the field holds.
      earlier: names of earlier stages.
      field: its name, for the message.

    Returns:
      ``"stage"``, ``"workdir"`` or ``"weights"``.

    Raises:
      FileNotFoundError: if it is nothing that there is.
    """
    if source in earlier:
        return "stage"
    if (Path(source) / "config.json").is_file():
        return "workdir"
    if Path(source).is_file() or source.startswith("hf://"):
        return "weights"
    raise FileNotFoundError(
        f"{field} must be an earlier stage ({', '.join(earlier) or 'there is none'}), a workdir, "
        f"a file of weights or hf:// and a model's name; got {source!r}{similar(source, earlier)}"
    )


def _copy(source: nnx.Module, target: nnx.Module, images: Callable[[], Iterable[Any]]) -> bool:
    if has_integer_form(target) and not has_integer_form(source):
        initialize_integer_only(target, source, images())
    else:
        copy_shared_state(source, target)
    return any(isinstance(module, QuantizedLayer) for _, module in nnx.iter_modules(source))


def has_integer_form(model: nnx.Module) -> TypeGuard[IntegerResNet | IntegerMobileNetV2]:
    """Whether a network is one whose evaluation is integer arithmetic."""
    return isinstance(model, IntegerResNet | IntegerMobileNetV2)


def range_images(dataset: Dataset, config: ConfigDict) -> list[np.ndarray]:
    """Returns the images that set the grids of an integer-only network, the same everywhere.

    Args:
      dataset: its training images are used.
      config: its batch size and seed are used.

    Returns:
      Batches of uint8 images.
    """
    batches = data.train_batches(
        dataset,
        config.batch_size,
        seed=config.seed,
        max_bad_records=config.data.max_bad_records,
    )
    return [np.array(next(batches)["image"]) for _ in range(RANGE_BATCHES)]


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
      FileNotFoundError: if there is no such teacher.
      ValueError: if ``teacher_weights`` is missing or does not fit.
    """
    name, weights = settings.teacher, settings.teacher_weights
    if name is None:
        return None
    kind = kind_of_teacher(name, weights, trained)
    if kind == "stage":
        teacher = trained[name]
    elif kind == "workdir":
        teacher = load(name)
    else:
        from n2uq_jax import interop

        teacher = make_teacher(name, dataset, config)
        logger.info("%s", interop.load_checkpoint(teacher, weights))
    teacher.eval()
    return teacher


def kind_of_teacher(
    name: str, weights: str | None, earlier: Iterable[str], field: str = "teacher"
) -> Literal["stage", "workdir", "network"]:
    """Says what the teacher of a stage is.

    Args:
      name: what the field holds.
      weights: what ``teacher_weights`` holds.
      earlier: names of earlier stages.
      field: its name, for the message.

    Returns:
      ``"stage"``, ``"workdir"`` or ``"network"``.

    Raises:
      FileNotFoundError: if it is nothing that there is.
      ValueError: if it is a network without weights.
    """
    if name in earlier:
        return "stage"
    if (Path(name) / "config.json").is_file():
        return "workdir"
    if name not in models.names():
        known = [*earlier, *models.names()]
        raise FileNotFoundError(
            f"{field} must be an earlier stage ({', '.join(earlier) or 'there is none'}), a "
            f"workdir, or a network of models.create such as torchvision/resnet101; got {name!r}"
            f"{similar(name, known)}"
        )
    if weights is None:
        raise ValueError(
            f"{field}_weights for {name!r} must be a file, or hf:// and a model's name; got None."
        )
    return "network"


def make_teacher(name: str, dataset: Dataset, config: ConfigDict) -> nnx.Module:
    """Builds a float network that teaches, with random parameters.

    Args:
      name: of :func:`n2uq_jax.models.names`.
      dataset: its number of classes is the teacher's.
      config: its seed and precision are used.

    Returns:
      The network.
    """
    return models.create(
        name,
        num_classes=dataset.num_classes,
        dtype=jnp.float64 if config.x64 else jnp.bfloat16,
        rngs=nnx.Rngs(config.seed),
    )
