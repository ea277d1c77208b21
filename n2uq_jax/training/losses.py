"""What a network is trained towards: labels, a teacher, or a mix of both."""

import jax
import jax.numpy as jnp
import optax

from n2uq_jax.shapes import Array, Float, Shaped


def classification_loss(
    logits: Float[Array, "batch classes"],
    labels: Shaped[Array, " batch"],
    teacher_logits: Float[Array, "batch classes"] | None = None,
    *,
    label_weight: float = 0.0,
    label_smoothing: float = 0.0,
    temperature: float = 1.0,
) -> Float[Array, ""]:
    r"""Returns the mean loss of a batch.

    With the student's log-softmax and the teacher's softmax :math:`p`,

    .. math::
      L = (1 - w) \tau^2 \operatorname{CE}\big(p(t / \tau), s / \tau\big)
        + w \operatorname{CE}\big(\text{smoothed labels}, s\big)

    and without a teacher the second term alone. The paper's loss is :math:`w = 0, \tau = 1`.

    Args:
      logits: the student's :math:`s`, shape ``(batch, classes)``; computed in float32 at least.
      labels: class numbers, int32, shape ``(batch,)``.
      teacher_logits: the teacher's :math:`t`, shape of ``logits``; None to train on labels.
      label_weight: :math:`w`, in 0..1, with a teacher.
      label_smoothing: share of the labels' mass that is spread over all classes.
      temperature: :math:`\tau > 0`.

    Returns:
      Shape ``()``, float32 or wider.

    Reference:
      Hinton et al., "Distilling the Knowledge in a Neural Network", arXiv 1503.02531, Section 2.
    """
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    targets = optax.smooth_labels(
        jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype), label_smoothing
    )
    hard = optax.softmax_cross_entropy(logits, targets).mean()
    if teacher_logits is None:
        return hard
    teacher_logits = jax.lax.stop_gradient(teacher_logits.astype(logits.dtype))
    soft_targets = jax.nn.softmax(teacher_logits / temperature)
    soft = optax.softmax_cross_entropy(logits / temperature, soft_targets).mean()
    return (1 - label_weight) * temperature**2 * soft + label_weight * hard
