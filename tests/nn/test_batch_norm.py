import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from n2uq_jax.nn import BatchNorm

# Two channels of four values: means 3 and 0, biased variances 5 and 4, unbiased 20/3 and 16/3.
X = np.array([[[0.0, 2], [2, -2]], [[4, 2], [6, -2]]], np.float32)


def test_training_and_evaluation_as_in_pytorch():
    layer = BatchNorm(2, rngs=nnx.Rngs(0))
    layer.scale[...], layer.bias[...] = jnp.array([2.0, 1.0]), jnp.array([0.0, 5.0])
    y = layer(X)
    np.testing.assert_allclose(y[..., 0], 2 * (X[..., 0] - 3) / np.sqrt(5 + 1e-5), rtol=1e-5)
    np.testing.assert_allclose(y[..., 1], X[..., 1] / np.sqrt(4 + 1e-5) + 5, rtol=1e-5)
    # torch.nn.BatchNorm1d: momentum 0.1 of the batch's mean and unbiased variance.
    np.testing.assert_allclose(layer.mean[...], [0.3, 0], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(layer.var[...], [0.9 + 2 / 3, 0.9 + 1.6 / 3], rtol=1e-5)
    assert layer.num_batches[...] == 1

    layer(X, use_running_average=True)
    layer.eval()
    y = layer(X)
    expected = 2 * (X[..., 0] - 0.3) / np.sqrt(0.9 + 2 / 3 + 1e-5)
    np.testing.assert_allclose(y[..., 0], expected, rtol=1e-5)
    np.testing.assert_allclose(layer.mean[...], [0.3, 0], rtol=1e-5, atol=1e-7)
    assert layer.num_batches[...] == 1


def test_masked_values_do_not_count():
    padded = np.concatenate([X, np.full((1, 2, 2), 100, np.float32)])
    mask = jnp.array([True, True, False]).reshape(3, 1, 1)
    layers = [BatchNorm(2, rngs=nnx.Rngs(0)) for _ in range(2)]
    layers[0](X)
    layers[1](padded, mask=mask)
    np.testing.assert_allclose(layers[1].mean[...], layers[0].mean[...], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(layers[1].var[...], layers[0].var[...], rtol=1e-5)


def test_values_of_all_devices_count():
    layer = BatchNorm(2, axis_name="device", rngs=nnx.Rngs(0))
    graph, state = nnx.split(layer)

    def statistics(x):
        model = nnx.merge(graph, state, copy=True)
        model(x)
        return model.var[...]

    var = jax.vmap(statistics, axis_name="device")(X)
    np.testing.assert_allclose(var, [[0.9 + 2 / 3, 0.9 + 1.6 / 3]] * 2, rtol=1e-5)


def test_one_value_a_channel():
    layer = BatchNorm(2, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(layer(jnp.array([[3.0, 4.0]])), [[0, 0]])
    np.testing.assert_allclose(layer.var[...], 0.9, rtol=1e-6)


def test_running_statistics_change_in_a_jitted_step():
    layer = BatchNorm(2, rngs=nnx.Rngs(0))
    graph, params, stats = nnx.split(layer, nnx.Param, nnx.BatchStat)

    @jax.jit
    def step(params, stats, x):
        def loss(params):
            model = nnx.merge(graph, params, stats, copy=True)
            return (model(x) ** 3).sum(), nnx.state(model, nnx.BatchStat)

        return jax.grad(loss, has_aux=True)(params)

    gradients, stats = step(params, stats, X)
    assert (gradients["bias"][...] != 0).any()
    nnx.update(layer, stats)
    np.testing.assert_allclose(layer.mean[...], [0.3, 0], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(layer.var[...], [0.9 + 2 / 3, 0.9 + 1.6 / 3], rtol=1e-5)


@pytest.mark.parametrize(("dtype", "stats"), [("bfloat16", "float32"), ("float64", "float64")])
def test_statistics_are_float32_or_wider(x64, dtype, stats):
    layer = BatchNorm(2, param_dtype=jnp.dtype(dtype), rngs=nnx.Rngs(0))
    y = layer(jnp.asarray(X, dtype))
    assert y.dtype == jnp.promote_types(dtype, stats)
    assert layer.mean[...].dtype == layer.var[...].dtype == stats
