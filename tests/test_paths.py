import jax.numpy as jnp
import optax
import pytest
from flax import nnx

from n2uq_jax.paths import by_path, path_name


def test_a_layer_called_value_keeps_its_name():
    attention = nnx.MultiHeadAttention(
        num_heads=2, in_features=4, use_bias=False, decode=False, rngs=nnx.Rngs(0)
    )
    params = nnx.state(attention, nnx.Param)
    layers = ("key", "out", "query", "value")
    assert list(by_path(params)) == [f"{layer}/kernel" for layer in layers]
    moments = optax.adam(1e-3).init(params)
    assert {f"0/mu/{layer}/kernel" for layer in layers} < by_path(moments).keys()
    assert by_path(params)["value/kernel"] is params["value"]["kernel"][...]


def test_every_kind_of_path_has_the_same_name():
    model = nnx.Sequential(nnx.Linear(2, 3, rngs=nnx.Rngs(0)))
    state = nnx.state(model)
    assert list(by_path(state)) == ["layers/0/bias", "layers/0/kernel"]
    assert [path_name(path) for path, _ in nnx.to_flat_state(state)] == list(by_path(state))
    assert "layers/0" in [path_name(path) for path, _ in nnx.iter_modules(model)]


def test_two_leaves_of_one_name_are_an_error():
    with pytest.raises(ValueError, match=r"two leaves of the same path, got 'a/b' twice"):
        by_path({"a": {"b": jnp.zeros(1)}, "a/b": jnp.zeros(1)})
