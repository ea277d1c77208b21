import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from n2uq_jax.nn import BatchNorm
from n2uq_jax.paths import by_path
from n2uq_jax.training.state import create_state, forward, forward_in_groups, split_model
from tests.training.tiny import PIXELS, batch, tiny


def test_a_network_is_split_into_structure_parameters_and_statistics():
    norm = BatchNorm(3, rngs=nnx.Rngs(0))
    graphdefs, params, batch_stats = split_model(norm)
    assert set(by_path(params)) == {"scale", "bias"}
    assert set(by_path(batch_stats)) == {"mean", "var", "num_batches"}
    assert norm.use_running_average
    x = jnp.arange(12.0).reshape(4, 3)
    trained, moved = forward(graphdefs.train, params, batch_stats, x)
    np.testing.assert_allclose(trained.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(moved["mean"][...], 0.1 * x.mean(0), rtol=1e-6)
    evaluated, same = forward(graphdefs.eval, params, batch_stats, x)
    np.testing.assert_allclose(evaluated, x, rtol=1e-4)
    np.testing.assert_array_equal(same["mean"][...], batch_stats["mean"][...])
    np.testing.assert_array_equal(norm.mean[...], np.zeros(3))


def test_the_first_state_has_arrays_of_its_own():
    _, params, batch_stats = split_model(BatchNorm(3, rngs=nnx.Rngs(0)))
    state = create_state(params, batch_stats, optax.adam(1e-3))
    assert int(state.step) == 0
    assert by_path(state.opt_state).keys() >= {"0/mu/scale", "0/nu/bias"}
    jax.tree.map(lambda value: value.delete(), (state.params, state.batch_stats))
    assert all(np.isfinite(value).all() for value in by_path((params, batch_stats)).values())


@pytest.mark.slow
def test_groups_have_batch_statistics_of_their_own(x64):
    graphdefs, params, batch_stats = split_model(tiny())
    images = PIXELS(batch()["image"])
    run = jax.jit(lambda images: forward(graphdefs.train, params, batch_stats, images))
    logits, grouped = forward_in_groups(graphdefs.train, params, batch_stats, images, 4)
    parts = [run(images[i : i + 4]) for i in (0, 4, 8, 12)]
    np.testing.assert_allclose(logits, jnp.concatenate([p[0] for p in parts]), rtol=1e-9)
    means = jax.tree.map(lambda *v: sum(v) / 4, *(p[1] for p in parts))
    for name, value in by_path(means).items():
        np.testing.assert_allclose(by_path(grouped)[name], value, rtol=1e-9)
