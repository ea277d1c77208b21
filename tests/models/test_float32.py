"""The paper's network in float32 against its own float64 run, layer by layer."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from n2uq_jax import models
from n2uq_jax.interop import load_n2uq_state_dict
from n2uq_jax.nn import ActivationQuantizer
from tests import golden

quantize = ActivationQuantizer.__call__


def resnet18(dtype):
    network = nnx.eval_shape(
        lambda: models.create(
            "resnet18", w_bits=2, a_bits=2, dtype=dtype, param_dtype=dtype, rngs=nnx.Rngs(0)
        )
    )
    load_n2uq_state_dict(network, golden.state_dict("resnet18", 2, seed=1))
    network.eval()
    return nnx.split(network)


def own_run(network, images, monkeypatch):
    """Returns the input of every block and the codes of every quantizer."""
    codes = []

    def record(self, x):
        q = quantize(self, x)
        codes.append(q.codes)
        return q

    def forward(state, images):
        model = nnx.merge(graph, state, copy=True)
        inputs = []
        x = model.stem(images)
        for block in (b for s in model.stages for b in s):
            inputs.append(x)
            x = block(x)
        return inputs, codes

    graph, state = network
    monkeypatch.setattr(ActivationQuantizer, "__call__", record)
    return jax.device_get(jax.jit(forward)(state, jnp.asarray(images)))


def fed_run(network, inputs, codes, monkeypatch):
    """Feeds every block and convolution what another run fed it; counts other codes."""
    differing, pending = [], iter(codes)

    def replace(self, x):
        q = quantize(self, x)
        expected = jnp.asarray(next(pending), q.codes.dtype)
        differing.append((q.codes != expected).sum())
        return dataclasses.replace(q, codes=expected)

    def forward(state, inputs):
        model = nnx.merge(graph, state, copy=True)
        for block, x in zip((b for s in model.stages for b in s), inputs, strict=True):
            block(x)
        return differing

    graph, state = network
    monkeypatch.setattr(ActivationQuantizer, "__call__", replace)
    return jax.device_get(jax.jit(forward)(state, [np.float32(x) for x in inputs]))


@pytest.mark.slow
@pytest.mark.usefixtures("optimized")
def test_each_layer_gives_the_codes_of_float64(monkeypatch, record_property):
    images = np.random.default_rng(0).normal(0, 1, (8, 64, 64, 3))
    with jax.enable_x64(True):
        inputs, codes = own_run(resnet18(jnp.float64), images, monkeypatch)
    network = resnet18(jnp.float32)
    differing = fed_run(network, inputs, codes, monkeypatch)
    sizes = [c.size for c in codes]
    assert len(differing) == len(codes) == 19
    assert all(c.dtype == np.float64 and np.unique(c).tolist() == [0, 1, 2, 3] for c in codes)
    assert sum(differing) < 1e-5 * sum(sizes), differing
    assert max(differing) <= 1, differing  # the smallest layers have fewer than 1e5 codes

    # One other code changes what follows, so the share end to end is reported, not bounded.
    _, end_to_end = own_run(network, np.float32(images), monkeypatch)
    share = [float((a != b).mean()) for a, b in zip(codes, end_to_end, strict=True)]
    record_property("codes that differ end to end", share)
    assert share[0] < 1e-5
