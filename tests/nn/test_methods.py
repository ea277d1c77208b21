from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import n2uq_jax as n2uq
from n2uq_jax.nn import LSQ, PACT, ActivationQuantizer, DoReFa, Method, QuantConv, QuantLinear
from n2uq_jax.nn.methods import check_method, input_quantizer, is_n2uq
from n2uq_jax.quantizers import (
    quantize_dorefa_weight,
    quantize_lsq_weight,
    quantize_sawb,
    quantize_weight,
)

METHODS = get_args(Method)


def layer(method, **options):
    return QuantLinear(6, 4, w_bits=2, a_bits=2, method=method, rngs=nnx.Rngs(0), **options)


@pytest.mark.parametrize("method", METHODS)
def test_a_layer_multiplies_the_codes_of_its_method(method):
    new = layer(method)
    kernel = new.kernel[...]
    w = {
        "n2uq": lambda: quantize_weight(kernel, 2),
        "n2uq_uniform": lambda: quantize_weight(kernel, 2),
        "n2uq_unscaled": lambda: quantize_weight(kernel, 2, entropy_preserving=False),
        "lsq": lambda: quantize_lsq_weight(kernel, 2 * jnp.abs(kernel).mean(), 2),
        "pact": lambda: quantize_sawb(kernel, 2),
        "dorefa": lambda: quantize_dorefa_weight(kernel, 2),
    }[method]()
    x = jax.random.normal(jax.random.key(0), (5, 6))
    kind = {"lsq": LSQ, "pact": PACT, "dorefa": DoReFa}.get(method, ActivationQuantizer)
    assert type(new.input_quantizer) is kind
    product = new.input_quantizer(x).dequantize() @ w.dequantize()
    np.testing.assert_allclose(new(x), product, rtol=1e-5, atol=1e-6)


def test_n2uq_is_the_default_and_its_uniform_ablation_learns_scales_alone():
    assert layer("n2uq").method == QuantLinear(2, 2, w_bits=2, a_bits=2, rngs=nnx.Rngs(0)).method
    x = jax.random.uniform(jax.random.key(0), (5, 6), maxval=2)
    for method, learned in (("n2uq", True), ("n2uq_uniform", False)):
        gradients = nnx.jit(nnx.grad(lambda m: (m(x) ** 2).sum()))(layer(method))["input_quantizer"]
        assert bool(jnp.abs(gradients["intervals"][...]).sum() > 0) == learned
        assert bool(jnp.abs(gradients["start"][...]).sum() > 0) == learned
        assert jnp.abs(gradients["in_scale"][...]).sum() > 0
        assert jnp.abs(gradients["out_scale"][...]).sum() > 0


def test_every_parameter_of_lsq_and_pact_learns():
    x = jax.random.uniform(jax.random.key(0), (5, 6), maxval=3)
    for method in ("lsq", "pact"):
        gradients = nnx.jit(nnx.grad(lambda m: (m(x) ** 2).sum()))(layer(method))
        assert all(jnp.abs(g[...]).sum() > 0 for _, g in nnx.to_flat_state(gradients))


def test_conversion_starts_lsq_from_the_kernels_also_in_a_stack():
    conv = nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0))
    new = QuantConv.from_float(conv, w_bits=2, a_bits=2, method="lsq")
    step = new.weight_quantizer.step[...]
    np.testing.assert_allclose(step, 2 * jnp.abs(conv.kernel[...]).mean(), rtol=1e-6)
    stack = nnx.vmap(lambda rngs: nnx.Linear(2, 3, rngs=rngs))(nnx.Rngs(0).split(5))
    new = QuantLinear.from_float(stack, w_bits=2, a_bits=2, method="lsq")
    assert new.weight_quantizer.step.shape == new.input_quantizer.step.shape == (5,)


def test_a_rule_has_a_method():
    model = nnx.Sequential(*(nnx.Linear(4, 4, rngs=nnx.Rngs(i)) for i in range(3)))
    converted = n2uq.quantize(model, [n2uq.Rule("layers/1", w_bits=2, a_bits=2, method="pact")])
    assert converted.layers[1].method == "pact"
    with pytest.raises(ValueError, match="w_bits must be from 2 to 4 with method='pact', got 5"):
        n2uq.Rule("layers/1", w_bits=5, method="pact")


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("lqs", {}, "method must be one of n2uq, .*; got 'lqs'"),
        (None, {}, "method must be one of n2uq, .*; got None"),
        ("lsq", {"w_bits": 1}, "w_bits must be from 2 to 8 with method='lsq', got 1"),
        ("pact", {"w_bits": 8}, "w_bits must be from 2 to 4 with method='pact', got 8"),
        ("pact", {"a_bits": 2, "signed": True}, "signed must be False with method='pact'"),
        ("dorefa", {"a_bits": 2, "per_channel": True}, "per_channel must be False with"),
        ("lsq", {"a_bits": 1, "signed": None}, "a_bits must be from 2 to 8 for signed codes"),
    ],
)
def test_what_a_method_does_not_do_is_refused(method, options, message):
    with pytest.raises(ValueError, match=message):
        check_method(method, **options)


def test_what_a_method_does_passes():
    check_method("n2uq_uniform", w_bits=1, a_bits=1, signed=True, per_channel=True)
    check_method("lsq", w_bits=8, a_bits=1)
    check_method("pact", w_bits=4, a_bits=8, signed=None)
    assert [method for method in METHODS if is_n2uq(method)] == list(METHODS[:3])
    assert isinstance(input_quantizer("pact", 2), PACT)
    assert input_quantizer("pact", 2).detach_scale
