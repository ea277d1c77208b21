import jax
import jax.numpy as jnp
import numpy as np
import pytest

from n2uq_jax.training.losses import classification_loss

RNG = np.random.default_rng(0)
STUDENT = RNG.normal(size=(5, 4))
TEACHER = RNG.normal(size=(5, 4))
LABELS = jnp.array([0, 3, 1, 2, 2])


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def test_without_a_teacher_it_is_the_labels_cross_entropy():
    expected = -log_softmax(STUDENT)[np.arange(5), LABELS].mean()
    got = classification_loss(jnp.asarray(STUDENT, jnp.float32), LABELS)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize(("weight", "temperature"), [(0.0, 1.0), (0.3, 1.0), (0.3, 4.0)])
def test_the_mix_of_teacher_and_labels(weight, temperature):
    targets = np.exp(log_softmax(TEACHER / temperature))
    soft = -(targets * log_softmax(STUDENT / temperature)).sum(-1).mean() * temperature**2
    hard = -log_softmax(STUDENT)[np.arange(5), LABELS].mean()
    got = classification_loss(
        jnp.asarray(STUDENT, jnp.float32),
        LABELS,
        jnp.asarray(TEACHER, jnp.float32),
        label_weight=weight,
        temperature=temperature,
    )
    np.testing.assert_allclose(got, (1 - weight) * soft + weight * hard, rtol=1e-5)


def test_label_smoothing_spreads_mass_over_all_classes():
    smoothed = np.full((5, 4), 0.1 / 4)
    smoothed[np.arange(5), LABELS] += 0.9
    expected = -(smoothed * log_softmax(STUDENT)).sum(-1).mean()
    got = classification_loss(jnp.asarray(STUDENT, jnp.float32), LABELS, label_smoothing=0.1)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_the_teacher_gets_no_gradient_and_bfloat16_logits_are_summed_in_float32():
    student = jnp.asarray(STUDENT, jnp.bfloat16)
    gradient = jax.grad(lambda t: classification_loss(student, LABELS, t))(
        jnp.asarray(TEACHER, jnp.float32)
    )
    assert not gradient.any()
    assert classification_loss(student, LABELS).dtype == jnp.float32
