import jax.numpy as jnp
import pytest
from flax import nnx

from n2uq_jax.nn.lazy import parameter_paths, reject_new_parameters


class Net(nnx.Module):
    def __init__(self):
        self.norm = nnx.BatchNorm(2, rngs=nnx.Rngs(0))

    def grow(self):
        self.late = nnx.Linear(2, 1, rngs=nnx.Rngs(0))


def test_paths_are_those_of_parameters_and_statistics():
    names = ("bias", "mean", "scale", "var")
    assert parameter_paths(Net()) == {f"norm/{name}" for name in names}


def test_parameters_that_a_call_made_are_an_error_that_lists_them():
    model = Net()
    known = parameter_paths(model)
    model.norm(jnp.ones((2, 2)))
    reject_new_parameters(model, known)
    model.grow()
    with pytest.raises(ValueError, match=r"when it is called: late/bias, late/kernel\. Call it on"):
        reject_new_parameters(model, known)
