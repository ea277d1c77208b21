from typing import NamedTuple

from flax import nnx

from n2uq_jax.conversion.modules import modules, replace_modules


def linear():
    return nnx.Linear(1, 1, rngs=nnx.Rngs(0))


class Pair(NamedTuple):
    left: nnx.Module
    right: nnx.Module


class Net(nnx.Module):
    def __init__(self):
        self.z = linear()
        self.a = nnx.data(Pair(linear(), self.z))
        self.b = nnx.List([linear()])
        self.me = self


def test_modules_by_path_in_the_order_of_the_constructor():
    model = Net()
    found = modules(model)
    layers = [path for path, module in found.items() if isinstance(module, nnx.Linear)]
    assert layers == ["z", "a/0", "a/1", "b/0"]
    assert found["a/1"] is found["z"] is model.z
    assert found[""] is model


def test_replaces_a_module_wherever_it_stands():
    model = Net()
    old, new = model.z, linear()
    left = model.a.left
    assert replace_modules(model, {id(old): new}) is model
    assert model.z is new
    assert model.a.right is new
    assert isinstance(model.a, Pair)
    assert model.a.left is left


def test_a_model_that_is_replaced_itself_is_the_new_one():
    old, new = linear(), linear()
    assert replace_modules(old, {id(old): new}) is new
