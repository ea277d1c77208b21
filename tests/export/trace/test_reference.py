import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from n2uq_jax import models
from n2uq_jax.export.trace.reference import evaluation_function
from tests.export.networks import images


def test_module_is_evaluated_and_left_alone(model):
    model.train()
    before = jax.tree.map(np.asarray, nnx.state(model))
    function, parameters = evaluation_function(model)
    x = jnp.asarray(images(3))
    logits = jax.jit(function)(parameters, x)
    assert model.norm.use_running_average is False
    jax.tree.map(np.testing.assert_array_equal, before, nnx.state(model))
    model.eval()
    np.testing.assert_allclose(logits, nnx.jit(model)(x), rtol=1e-4, atol=1e-5)
    assert parameters["stages/0/0/units/1/conv/kernel"].shape == (3, 3, 8, 8)


def test_reference_of_a_bfloat16_network_is_float32():
    shared = {"w_bits": 2, "a_bits": 2, "num_classes": 3, "in_features": 1, "width": 4}
    narrow, wide = (
        models.create("resnet8", dtype=dtype, rngs=nnx.Rngs(0), **shared)
        for dtype in (jnp.bfloat16, jnp.float32)
    )
    x = jnp.asarray(images(3))
    function, parameters = evaluation_function(narrow)
    expected, same = evaluation_function(wide)
    logits = jax.jit(function)(parameters, x)
    assert logits.dtype == jnp.float32
    np.testing.assert_array_equal(logits, jax.jit(expected)(same, x))
    assert narrow.head.dtype == jnp.bfloat16


def test_linen_module_comes_as_a_function():
    module = nn.Dense(3)
    variables = module.init(jax.random.key(0), jnp.ones((1, 4)))
    function, parameters = evaluation_function((module.apply, variables))
    assert sorted(parameters) == ["params/bias", "params/kernel"]
    x = jnp.arange(8.0).reshape(2, 4)
    np.testing.assert_array_equal(function(parameters, x), module.apply(variables, x))


def test_other_things_are_refused():
    with pytest.raises(TypeError, match=r"model must be an nnx.Module or a pair .* got str"):
        evaluation_function("resnet18")
