import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from n2uq_jax.nn import ActivationQuantizer, QuantConv, QuantLinear
from n2uq_jax.quantizers import quantize_weight


def normal(*shape, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), dtype)


ones = functools.partial(np.ones, dtype=np.float32)


def float_twin(layer, x, **kwargs):
    """Flax's convolution on dequantized inputs and weights."""
    twin = nnx.Conv(
        layer.in_features, layer.out_features, layer.kernel_size, rngs=nnx.Rngs(0), **kwargs
    )
    twin.kernel[...] = quantize_weight(layer.kernel[...], layer.w_bits).dequantize()
    if layer.bias is not None:
        twin.bias[...] = layer.bias[...]
    return twin(x if layer.input_quantizer is None else layer.input_quantizer(x).dequantize())


@pytest.mark.parametrize(
    ("shape", "kernel_size", "arguments"),
    [
        ((2, 7, 6, 4), (3, 3), {"padding": "SAME", "strides": 2}),
        ((2, 7, 6, 4), (3, 2), {"padding": "VALID", "strides": (2, 1), "use_bias": False}),
        ((2, 7, 6, 4), (3, 4), {"padding": "CIRCULAR", "kernel_dilation": (2, 1)}),
        ((2, 7, 6, 4), (3, 4), {"padding": "REFLECT", "kernel_dilation": 1}),
        ((2, 7, 6, 4), (3, 3), {"padding": 1, "feature_group_count": 4}),
        ((2, 7, 6, 4), (3, 3), {"padding": (1, (0, 2)), "input_dilation": (2, 1)}),
        ((2, 7, 4), 3, {"padding": "CAUSAL", "kernel_dilation": 2}),
        ((2, 7, 4), 3, {"padding": "SAME", "strides": None}),
        ((7, 6, 4), (3, 3), {}),
        ((2, 1, 3, 7, 6, 4), (3, 3), {}),
        ((0, 7, 6, 4), (3, 3), {}),
    ],
)
def test_against_flax_on_dequantized_values(shape, kernel_size, arguments):
    arguments = {"bias_init": nnx.initializers.normal()} | arguments

    @jax.jit
    def both(x):
        layer = QuantConv(4, 8, kernel_size, w_bits=3, a_bits=3, rngs=nnx.Rngs(0), **arguments)
        return layer(x), float_twin(layer, x, **arguments)

    y, expected = both(normal(*shape))
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_image_dtypes_and_parameter_dtypes(x64):
    def dtypes(x_dtype, **kwargs):
        layer = QuantConv(2, 3, 3, w_bits=2, a_bits=2, rngs=nnx.Rngs(0), **kwargs)
        parameters = {v.dtype.name for v in jax.tree.leaves(nnx.state(layer))}
        y = jax.eval_shape(layer, jax.ShapeDtypeStruct((1, 4, 2), x_dtype))
        return y.dtype.name, parameters

    # As in Flax: without dtype, the result type of input and parameters.
    assert dtypes("float32") == ("float32", {"float32"})
    assert dtypes("bfloat16") == ("float32", {"float32"})
    assert dtypes("float64") == ("float64", {"float32"})
    assert dtypes("bfloat16", param_dtype=jnp.bfloat16) == ("bfloat16", {"bfloat16"})
    assert dtypes("float64", dtype=jnp.bfloat16) == ("bfloat16", {"float32"})
    assert dtypes("float32", dtype=jnp.float64) == ("float64", {"float32"})
    assert dtypes("float32", param_dtype=jnp.float64) == ("float64", {"float64"})


@pytest.mark.slow
@pytest.mark.parametrize("operands", ["float32", "bfloat16", "int8"])
def test_operands_change_nothing(operands):
    x = normal(2, 6, 6, 4)

    def loss(layer, x):
        return (layer(x) ** 2).sum()

    def run(operands):
        layer = QuantConv(4, 3, (3, 3), w_bits=4, a_bits=4, operands=operands, rngs=nnx.Rngs(0))
        return layer(x), nnx.grad(loss, argnums=(0, 1))(layer, x)

    for a, b in zip(*(jax.tree.leaves(run(o)) for o in (operands, None)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_bfloat16_rounds_the_output_alone():
    layer = QuantConv(4, 3, (3, 3), w_bits=4, a_bits=4, use_bias=False, rngs=nnx.Rngs(0))
    x = normal(2, 6, 6, 4, dtype=jnp.bfloat16)
    wide = layer(x.astype(jnp.float32))
    layer.dtype = jnp.bfloat16
    np.testing.assert_array_equal(layer(x), wide.astype(jnp.bfloat16))


def test_every_parameter_gets_a_gradient():
    @jax.jit
    def gradients_of(x):
        layer = QuantConv(4, 3, (3, 3), w_bits=2, a_bits=2, per_channel=True, rngs=nnx.Rngs(0))
        return nnx.grad(lambda layer: (layer(x) ** 2).sum())(layer)

    gradients = gradients_of(normal(2, 6, 6, 4) + 1)
    flat = {"/".join(path): v[...] for path, v in nnx.to_flat_state(gradients)}
    names = [f"input_quantizer/{n}" for n in ("in_scale", "intervals", "out_scale", "start")]
    assert sorted(flat) == ["bias", *names, "kernel"]
    assert flat["input_quantizer/intervals"].shape == (3, 4)
    assert all(np.any(v != 0) for v in flat.values())


def test_without_an_input_quantizer():
    layer = QuantConv(4, 3, (3, 3), w_bits=2, a_bits=None, rngs=nnx.Rngs(0))
    x = normal(2, 6, 6, 4)
    np.testing.assert_allclose(layer(x), float_twin(layer, x), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(layer(np.asarray(x)), layer(x))

    q = ActivationQuantizer(2)(x)
    owner = QuantConv(4, 3, (3, 3), w_bits=2, a_bits=2, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(layer(q), owner(x))
    with pytest.raises(TypeError, match=r"inputs is a QArray, but this layer.*a_bits=None"):
        owner(q)


def test_signed_inputs():
    layer = QuantConv(4, 3, 3, w_bits=2, a_bits=2, signed=True, rngs=nnx.Rngs(0))
    x = normal(2, 6, 4)
    assert (layer.input_quantizer(x).codes < 0).any()
    np.testing.assert_allclose(layer(x), float_twin(layer, x), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_mask_multiplies_the_codes():
    mask = np.tril(np.ones((3, 2, 2), np.float32))
    layer = QuantConv(2, 2, 3, w_bits=2, a_bits=2, mask=mask, rngs=nnx.Rngs(0))
    unmasked = QuantConv(2, 2, 3, w_bits=2, a_bits=2, rngs=nnx.Rngs(0))
    x = jnp.ones((1, 5, 2))
    q, w = layer.input_quantizer(x), quantize_weight(layer.kernel[...], 2)
    twin = nnx.Conv(2, 2, 3, mask=jnp.asarray(mask), rngs=nnx.Rngs(0))
    twin.kernel[...] = w.dequantize()
    np.testing.assert_allclose(layer(x), twin(q.dequantize()), rtol=1e-5, atol=1e-7)
    assert (layer(x) != unmasked(x)).any()
    gradient = nnx.grad(lambda layer: layer(x).sum())(layer).kernel[...]
    np.testing.assert_array_equal(gradient[mask == 0], 0)


def test_split_merge_jit_and_modes():
    class Network(nnx.Module):
        def __init__(self, rngs):
            self.conv = QuantConv(2, 4, 3, w_bits=2, a_bits=2, rngs=rngs)
            self.norm = nnx.BatchNorm(4, rngs=rngs)
            self.dropout = nnx.Dropout(0.5, rngs=rngs)
            self.head = QuantLinear(4, 3, w_bits=2, a_bits=2, rngs=rngs)

        def __call__(self, x):
            return self.head(self.dropout(self.norm(self.conv(x))))

    network, x = Network(nnx.Rngs(0)), normal(2, 5, 2)
    expected = network.conv(x)
    view = nnx.view(network, deterministic=True, use_running_average=True)
    assert view.norm.use_running_average
    assert not network.norm.use_running_average
    np.testing.assert_array_equal(view.conv(x), expected)
    for switch in (network.train, network.eval):
        switch()
        np.testing.assert_array_equal(network.conv(x), expected)

    y = network(x)
    np.testing.assert_allclose(nnx.jit(lambda network, x: network(x))(network, x), y, rtol=1e-5)
    graph, state = nnx.split(network)
    np.testing.assert_allclose(
        jax.jit(lambda state, x: nnx.merge(graph, state)(x))(state, x), y, rtol=1e-5
    )


def test_barriers_in_evaluation():
    layer = QuantConv(2, 3, 3, w_bits=2, a_bits=2, rngs=nnx.Rngs(0))
    graph, state = nnx.split(layer)
    x = normal(1, 5, 2)

    def call(state):
        return nnx.merge(graph, state)(x)

    evaluation = str(jax.make_jaxpr(call)(state))
    training = str(jax.make_jaxpr(lambda state: jax.vjp(call, state)[0])(state))
    # Beside those of scales: one behind the input's codes and one behind the sums.
    assert evaluation.count("optimization_barrier") - training.count("optimization_barrier") == 2


def make(**kwargs):
    return QuantConv(
        **{"in_features": 4, "out_features": 2, "kernel_size": (3, 3), "w_bits": 2, "a_bits": 2}
        | kwargs,
        rngs=nnx.Rngs(0),
    )


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"w_bits": 0}, ValueError, "w_bits must be from 1 to 8, got 0"),
        ({"a_bits": 9}, ValueError, "a_bits must be from 1 to 8, got 9"),
        ({"a_bits": 2.5}, TypeError, "a_bits must be an int"),
        ({"feature_group_count": 3}, ValueError, "feature_group_count must be.*got 3 for 4 and 2"),
        ({"feature_group_count": 0}, ValueError, "feature_group_count must be at least 1"),
        ({"mask": ones((3, 3, 4))}, ValueError, r"mask must have.*\(3, 3, 4, 2\)"),
        ({"conv_general_dilated": max}, TypeError, "conv_general_dilated is not an argument"),
        ({"promote_dtype": max}, TypeError, "promote_dtype is not an argument"),
        ({"operands": "int4"}, ValueError, "operands must be None, .* got 'int4'"),
        ({"per_channel": "x"}, TypeError, "per_channel must be True or False, got 'x'"),
        ({"signed": "yes"}, TypeError, "signed must be True, False or None, got 'yes'"),
        ({"a_bits": True}, TypeError, "a_bits must be an int from 1 to 8, got True"),
        ({"in_features": 0}, ValueError, "in_features must be at least 1, got 0"),
        ({"out_features": 0}, ValueError, "out_features must be at least 1, got 0"),
        ({"kernel_size": (3, 0)}, ValueError, r"kernel_size must be at least 1, got \(3, 0\)"),
        ({"strides": 0}, ValueError, "strides must be at least 1, got 0"),
        ({"kernel_dilation": (0, 1)}, ValueError, r"kernel_dilation must be at least 1"),
        ({"stride": 2}, TypeError, "unexpected keyword argument 'stride'"),
    ],
)
def test_construction_errors(kwargs, error, message):
    with pytest.raises(error, match=message):
        make(**kwargs)


@pytest.mark.parametrize(
    ("kwargs", "x", "error", "message"),
    [
        ({}, ones((5, 4)), ValueError, r"inputs must have 2 spatial axes.*\(5, 4\)"),
        ({}, ones((1, 5, 5, 3)), ValueError, r"4 channels last, got shape \(1, 5, 5, 3\)"),
        ({}, np.ones((1, 5, 5, 4), np.int32), TypeError, "inputs must be of a float.*int32"),
        ({"padding": "CAUSAL"}, ones((1, 5, 5, 4)), ValueError, "padding must be .*'CAUSAL'"),
        ({"padding": "same"}, ones((1, 5, 5, 4)), ValueError, "padding must be .*'same'"),
        ({"padding": [1]}, ones((1, 5, 5, 4)), ValueError, "padding must have 2 entries"),
    ],
)
def test_call_errors(kwargs, x, error, message):
    layer = make(**kwargs)
    with pytest.raises(error, match=message):
        layer(x)
