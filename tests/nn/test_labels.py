import jax
import jax.numpy as jnp
import optax
from flax import nnx

import n2uq_jax as n2uq
from n2uq_jax.nn import LSQ, PACT, QuantLinear, optimizer_labels


class Net(nnx.Module):
    def __init__(self):
        self.layer = QuantLinear(2, 2, w_bits=2, a_bits=2, rngs=nnx.Rngs(0))
        self.pact = PACT(2)
        self.lsq = LSQ(2)
        self.start = nnx.Param(jnp.zeros(()))  # a parameter of the model, not of a quantizer


def test_only_the_parameters_of_quantizers_are_a_group_of_their_own():
    labels = nnx.to_pure_dict(optimizer_labels(nnx.state(Net(), nnx.Param)))
    names = ("start", "intervals", "in_scale", "out_scale")
    assert labels["layer"]["input_quantizer"] == dict.fromkeys(names, "quantizer")
    assert labels["pact"] == {"clip": "quantizer"}
    assert labels["lsq"] == {"step": "quantizer"}
    assert labels["layer"]["kernel"] == labels["layer"]["bias"] == labels["start"] == "default"


def test_a_module_with_a_clip_among_other_parameters_is_no_quantizer():
    tree = {
        "a": {"clip": 1.0},
        "b": {"clip": 1.0, "kernel": 2.0},
        "c": {"start": 1.0},
        "d": {"step": 0.0, "w": 0.0},
    }
    assert optimizer_labels(tree) == {
        "a": {"clip": "quantizer"},
        "b": {"clip": "default", "kernel": "default"},
        "c": {"start": "default"},
        "d": {"step": "default", "w": "default"},
    }


def test_partitions_an_optimizer():
    params = nnx.state(Net(), nnx.Param)
    groups = {"quantizer": optax.sgd(0.1), "default": optax.sgd(1.0)}
    optimizer = optax.partition(groups, n2uq.optimizer_labels)
    ones = jax.tree.map(jnp.ones_like, params)
    updates = nnx.to_pure_dict(optimizer.update(ones, optimizer.init(params))[0])
    assert (updates["layer"]["kernel"] == -1).all()
    assert jnp.allclose(updates["layer"]["input_quantizer"]["intervals"], -0.1)
