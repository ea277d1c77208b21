"""Structure alone: the numbers are compared with torchvision's own in tests/interop."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from n2uq_jax import models
from n2uq_jax.models.resnet import ResNetShape
from n2uq_jax.models.torchvision import TorchvisionResNet, relu_and_pool

# Counted by torchvision's documentation of its weights.
PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "mobilenet_v2": 3_504_872,
}


@pytest.mark.parametrize(
    "name",
    [n if n != "resnet101" else pytest.param(n, marks=pytest.mark.slow) for n in PARAMETERS],
)
def test_parameters_are_as_many_as_torchvision_documents(name):
    model = nnx.eval_shape(lambda: models.create(f"torchvision/{name}", rngs=nnx.Rngs(0)))
    leaves = nnx.to_flat_state(nnx.state(model, nnx.Param))
    assert sum(variable.size for _, variable in leaves) == PARAMETERS[name]


def test_the_stem_ends_in_a_pooled_relu():
    image = jnp.asarray([[-1.0, -2.0], [-3.0, -4.0]]).reshape(1, 2, 2, 1)
    np.testing.assert_array_equal(relu_and_pool(image), np.zeros((1, 1, 1, 1)))
    np.testing.assert_array_equal(relu_and_pool(-image), np.full((1, 1, 1, 1), 4))


def test_a_small_network_is_the_arithmetic_of_its_parts():
    shape = ResNetShape("basic", (1,), (2,), in_features=1)
    model = TorchvisionResNet(shape, num_classes=3, rngs=nnx.Rngs(0))
    model.eval()
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 1)), jnp.float32)
    x = relu_and_pool(model.stem.norm(model.stem.conv(images)))
    first, second = model.stages[0][0].units
    y = second.norm(second.conv(nnx.relu(first.norm(first.conv(x)))))
    expected = model.head(nnx.relu(x + y).mean((1, 2)))
    np.testing.assert_allclose(model(images), expected, rtol=1e-5, atol=1e-6)
