import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from n2uq_jax.nn import PACT, ActivationQuantizer
from n2uq_jax.quantizers import quantize_activation, quantize_pact


@pytest.mark.parametrize("bits", [1, 2, 8])
def test_initial_quantizer_is_uniform(bits):
    levels = 2**bits - 1
    x = jnp.linspace(-1.3, 2.9, 64)
    unsigned = ActivationQuantizer(bits)(x)
    np.testing.assert_array_equal(unsigned.codes, np.clip(np.round(x * levels / 2), 0, levels))
    np.testing.assert_allclose(unsigned.scale, 2 / levels, rtol=1e-6)
    signed = ActivationQuantizer(bits, signed=True)(x).dequantize()
    np.testing.assert_allclose(signed, ActivationQuantizer(bits)(x + 1).dequantize() - 1, atol=1e-6)


def test_parameters_and_initializers():
    constant = nnx.initializers.constant
    layer = ActivationQuantizer(
        2,
        channels=4,
        param_dtype=jnp.bfloat16,
        start_init=constant(0.5),
        intervals_init=nnx.initializers.uniform(),
        in_scale_init=constant(2.0),
        out_scale_init=constant(3.0),
        rngs=nnx.Rngs(0),
    )
    shapes = {"start": (4,), "intervals": (3, 4), "in_scale": (4,), "out_scale": ()}
    state = {path[0]: value[...] for path, value in nnx.to_flat_state(nnx.state(layer))}
    assert {name: value.shape for name, value in state.items()} == shapes
    assert {value.dtype for value in state.values()} == {jnp.dtype(jnp.bfloat16)}
    assert (state["start"] == 0.5).all()
    assert state["out_scale"] == 3
    assert len(np.unique(state["intervals"].astype(jnp.float32))) > 1

    x = jax.random.normal(jax.random.key(0), (5, 4))
    expected = quantize_activation(x, *(state[name] for name in shapes))
    np.testing.assert_array_equal(layer(x).codes, expected.codes)


def test_a_call_leaves_the_module_alone():
    layer = ActivationQuantizer(2)
    before = jax.tree.structure(nnx.split(layer))
    layer(jnp.ones((2, 3)))
    assert jax.tree.structure(nnx.split(layer)) == before


def test_modes_change_nothing():
    layer, x = ActivationQuantizer(2), jnp.linspace(-1, 3, 9)
    expected = layer(x).codes
    for switch in (layer.train, layer.eval):
        switch()
        np.testing.assert_array_equal(layer(x).codes, expected)


def test_pact():
    layer = PACT(4, clip_init=nnx.initializers.constant(0.5), rngs=nnx.Rngs(0))
    x = jnp.linspace(-1, 3, 9)
    expected = quantize_pact(x, jnp.float32(0.5), 4)
    np.testing.assert_array_equal(layer(x).dequantize(), expected.dequantize())
    assert PACT(4).clip[...] == 2


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ActivationQuantizer(0), ValueError, "bits must be from 1 to 8, got 0"),
        (lambda: ActivationQuantizer("2"), TypeError, "bits must be an int"),
        (lambda: ActivationQuantizer(2, channels=0), ValueError, "channels must be None or.*got 0"),
        (lambda: PACT(9), ValueError, "bits must be from 1 to 8, got 9"),
        (lambda: ActivationQuantizer(2)(jnp.arange(3)), TypeError, "x must be a float array"),
        (
            lambda: ActivationQuantizer(2, channels=4)(jnp.ones((2, 3))),
            ValueError,
            r"start must have shape.*\(3,\).*got \(4,\)",
        ),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()
