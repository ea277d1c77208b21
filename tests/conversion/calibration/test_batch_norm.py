import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import n2uq_jax as n2uq
from tests.conversion.models import CNN, images


class Norm(nnx.Module):
    """Dropout and a BatchNorm, of Flax or of ours."""

    def __init__(self, norm=nnx.BatchNorm):
        self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(0))
        self.norm = norm(2, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.norm(self.dropout(x))


def batches():
    x = 3 + 2 * jax.random.normal(jax.random.key(0), (9, 2))
    return [(x[:6], 0), x[6:]]


@pytest.mark.parametrize(("norm", "ddof"), [(nnx.BatchNorm, 0), (n2uq.nn.BatchNorm, 1)])
def test_statistics_are_averages_over_batches_weighted_by_their_size(norm, ddof):
    model = Norm(norm)
    model.norm.mean[...] = jnp.array([7.0, -7.0])
    n2uq.reestimate_batch_norm(model, batches())
    a, b = np.asarray(batches()[0][0]), np.asarray(batches()[1])
    np.testing.assert_allclose(model.norm.mean[...], (6 * a.mean(0) + 3 * b.mean(0)) / 9, rtol=1e-5)
    expected = (6 * a.var(0, ddof=ddof) + 3 * b.var(0, ddof=ddof)) / 9
    np.testing.assert_allclose(model.norm.var[...], expected, rtol=1e-5)
    assert model.norm.momentum < 1
    assert model.dropout.deterministic is False


def test_evaluation_then_normalizes_as_training_does():
    model = CNN(nnx.Rngs(0))
    model.batch_norm1.mean[...] += 5
    n2uq.reestimate_batch_norm(model, [images(16)])
    inference = nnx.view(model, deterministic=True, use_running_average=True)
    training = nnx.view(nnx.clone(model), deterministic=True, use_running_average=False)
    run = nnx.jit(lambda model, x: model(x))
    np.testing.assert_allclose(run(inference, images(16)), run(training, images(16)), atol=1e-4)


def test_a_layer_that_keeps_its_running_average_is_an_error_and_nothing_changes():
    class Flag(Norm):
        def __call__(self, x, train=False):
            return self.norm(x, use_running_average=not train)

    model = Flag()
    with pytest.raises(ValueError, match="statistics, so there are none to average: norm; pass"):
        n2uq.reestimate_batch_norm(model, batches())
    np.testing.assert_array_equal(model.norm.var[...], 1)
    n2uq.reestimate_batch_norm(model, batches(), forward=lambda model, x: model(x, train=True))
    assert np.all(model.norm.mean[...] > 1)


def test_a_model_without_batch_norm_is_an_error():
    with pytest.raises(ValueError, match=r"model has no nnx\.BatchNorm"):
        n2uq.reestimate_batch_norm(nnx.Linear(2, 2, rngs=nnx.Rngs(0)), batches())
