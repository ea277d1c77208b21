"""Adam, a learning-rate schedule, and a slower group for the quantizers' parameters."""

from typing import Any

import jax
import optax
from ml_collections import ConfigDict

from n2uq_jax.nn import optimizer_labels
from n2uq_jax.paths import path_name

SCHEDULES = ("linear", "linear_per_epoch", "cosine", "constant")

SLOW_GROUPS = ("all", "authors")
"""Which quantizer parameters have a learning rate of their own; see :func:`slow_group_labels`."""


def learning_rate_schedule(
    stage: ConfigDict, steps_per_epoch: int, total_steps: int
) -> optax.Schedule:
    """Returns the learning rate of every step.

    Args:
      stage: with ``learning_rate``, ``schedule`` and ``warmup_epochs``. ``"linear"`` falls from
        the learning rate to 0 over the stage; ``"linear_per_epoch"`` is
        :math:`1 - e / E` of it in epoch ``e`` of ``E`` (in the last one it is 0, as in the authors'
        script), where an epoch cut short counts as one and a single epoch keeps the whole rate;
        ``"cosine"`` follows half a cosine; ``"constant"`` stays.
      steps_per_epoch: at least 1.
      total_steps: of the stage.

    Returns:
      A function of the step number, from 0.

    Raises:
      ValueError: for an unknown schedule.
    """
    peak, warmup = stage.learning_rate, round(stage.warmup_epochs * steps_per_epoch)
    steps = max(1, total_steps - warmup)
    if stage.schedule == "linear":
        decay = optax.linear_schedule(peak, 0.0, steps)
    elif stage.schedule == "linear_per_epoch":
        epochs = -(-total_steps // steps_per_epoch)

        def decay(step):
            epoch = (step + warmup) // steps_per_epoch + 1
            return peak * (1 - epoch / epochs) if epochs > 1 else peak

    elif stage.schedule == "cosine":
        decay = optax.cosine_decay_schedule(peak, steps)
    elif stage.schedule == "constant":
        decay = optax.constant_schedule(peak)
    else:
        raise ValueError(
            "schedule must be 'linear', 'linear_per_epoch', 'cosine' or 'constant', got "
            f"{stage.schedule!r}."
        )
    if not warmup:
        return decay
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), decay], [warmup])


def make_optimizer(
    stage: ConfigDict, schedule: optax.Schedule, params: Any
) -> optax.GradientTransformation:
    """Returns Adam(0.9, 0.999) with the quantizers' parameters in a group of their own.

    Args:
      stage: with ``quantizer_lr_factor``, ``slow_group`` and ``weight_decay``.
      schedule: learning rate of the other parameters.
      params: the parameters, for their names and ranks.

    Returns:
      The transformation.

    Reference:
      Liu et al., CVPR 2022, Section 4.1, and the authors' script.
    """
    kernels = jax.tree.map(lambda p: p.ndim > 1, params)
    labels = slow_group_labels(params, stage.slow_group)
    if stage.weight_decay:
        default = optax.adamw(schedule, weight_decay=stage.weight_decay, mask=kernels)
    else:
        default = optax.adam(schedule)
    slower = optax.adam(lambda step: stage.quantizer_lr_factor * schedule(step))
    return optax.partition({"default": default, "quantizer": slower}, labels)


def slow_group_labels(params: Any, group: str) -> Any:
    """Labels the parameters that have the quantizers' learning rate.

    Args:
      params: the parameters of a network of :func:`n2uq_jax.models.create`.
      group: ``"all"``: every parameter of a quantizer. ``"authors"``: what the names in the
        authors' script match; they miss the intervals of shortcuts and of the third convolution of
        a ResNet's bottleneck, and PACT's clip, which learn as fast as the weights do.

    Returns:
      The same structure with ``"quantizer"`` or ``"default"`` in place of every array.

    Reference:
      github.com/liuzechun/Nonuniform-to-Uniform-Quantization, resnet/train.py and
      mobilenetv2/train.py.
    """
    labels = optimizer_labels(params)
    if group == "all":
        return labels

    def relabel(path: Any, label: str) -> str:
        name = path_name(path)
        in_bottleneck = name.startswith("stages/") and "/units/2/" in name
        missed = "intervals" in name and ("/shortcut/" in name or in_bottleneck)
        return "default" if missed or "clip" in name else label

    return jax.tree_util.tree_map_with_path(relabel, labels)
