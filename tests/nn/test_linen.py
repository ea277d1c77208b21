import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx, traverse_util

import n2uq_jax as n2uq
from n2uq_jax.nn.linen import ActivationQuantizer, QuantConv, QuantDense
from n2uq_jax.quantizers import QArray


def uniform(*shape, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 2, shape), dtype)


def randomised(params):
    leaves, treedef = jax.tree.flatten(params)
    noise = [np.asarray(uniform(*v.shape, seed=i), v.dtype) for i, v in enumerate(leaves)]
    noisy = [jnp.asarray(v + v.dtype.type(0.2) * n) for v, n in zip(leaves, noise, strict=True)]
    return jax.tree.unflatten(treedef, noisy)


MASK = np.arange(3 * 2 * 4 * 6).reshape(3, 2, 4, 6) % 3 > 0

slow = lambda arguments: pytest.param(arguments, marks=pytest.mark.slow)  # noqa: E731

CONVOLUTIONS = [
    {},
    {"strides": 2, "padding": ((1, 1), (1, 1)), "use_bias": False},
    {"signed": True, "per_channel": True, "kernel_dilation": 2},
    {"feature_group_count": 2, "padding": "CIRCULAR"},
    slow({"dtype": jnp.bfloat16}),
    {"a_bits": None, "operands": None},
    slow({"input_dilation": 2, "padding": 1, "operands": "int8"}),
    slow({"strides": (1, 2), "operands": "bfloat16", "w_bits": 1, "a_bits": 1}),
    slow({"mask": MASK}),
    slow({"a_bits": 4, "per_channel": True, "param_dtype": jnp.bfloat16}),
]


@pytest.mark.parametrize("arguments", CONVOLUTIONS, ids=lambda a: ", ".join(a) or "default")
def test_convolution_equals_that_of_nnx(arguments):
    arguments = {"w_bits": 3, "a_bits": 2} | arguments
    layer = QuantConv(features=6, kernel_size=(3, 2), **arguments)
    other = n2uq.nn.QuantConv(4, 6, (3, 2), **arguments, rngs=nnx.Rngs(0))
    check_equal(layer, other, uniform(2, 6, 5, 4))


DENSE = [
    {},
    {"signed": True, "use_bias": False},
    {"per_channel": True, "operands": "int8"},
    slow({"dtype": jnp.bfloat16, "w_bits": 4, "a_bits": 4}),
    {"a_bits": None},
    slow({"w_bits": 8, "param_dtype": jnp.bfloat16}),
]


@pytest.mark.parametrize("arguments", DENSE, ids=lambda a: ", ".join(a) or "default")
def test_dense_equals_linear_of_nnx(arguments):
    arguments = {"w_bits": 2, "a_bits": 3} | arguments
    layer = QuantDense(5, **arguments)
    other = n2uq.nn.QuantLinear(4, 5, **arguments, rngs=nnx.Rngs(0))
    check_equal(layer, other, uniform(2, 3, 4))


@pytest.mark.slow
def test_convolution_in_one_dimension_equals_that_of_nnx():
    layer = QuantConv(5, 3, w_bits=2, a_bits=2)
    other = n2uq.nn.QuantConv(4, 5, (3,), w_bits=2, a_bits=2, rngs=nnx.Rngs(0))
    check_equal(layer, other, uniform(2, 7, 4))


@pytest.mark.parametrize("arguments", [{}, {"signed": True}, {"per_channel": True}], ids=str)
def test_quantizer_equals_that_of_nnx(arguments):
    channels = 4 if arguments.get("per_channel") else None
    other = n2uq.nn.ActivationQuantizer(2, signed="signed" in arguments, channels=channels)
    check_equal(ActivationQuantizer(2, **arguments), other, uniform(3, 4))


def test_layers_that_take_codes_equal_those_of_nnx():
    codes = QArray(jnp.round(3 * jnp.abs(uniform(2, 6, 5, 4))), jnp.asarray(0.5), 7)
    layer = QuantConv(6, (3, 2), w_bits=3)
    other = n2uq.nn.QuantConv(4, 6, (3, 2), w_bits=3, a_bits=None, rngs=nnx.Rngs(0))
    check_equal(layer, other, codes)
    layer = QuantDense(5, w_bits=2)
    other = n2uq.nn.QuantLinear(4, 5, w_bits=2, a_bits=None, rngs=nnx.Rngs(0))
    check_equal(layer, other, codes)


def check_equal(layer, other, x):
    """Same names, same outputs and same gradients from the same parameters."""
    params = jax.eval_shape(layer.init, jax.random.key(0), x)["params"]
    graph, state, rest = nnx.split(other, nnx.Param, ...)
    values = jax.tree.map(np.asarray, nnx.to_pure_dict(state))
    describe = lambda v: (v.shape, v.dtype)  # noqa: E731
    assert jax.tree.map(describe, values) == jax.tree.map(describe, params)
    params = randomised(values)
    nnx.replace_by_pure_dict(state, params)

    def loss(y):
        y = y.dequantize() if isinstance(y, QArray) else y
        return jnp.sum(jnp.sin(y.astype(jnp.float32))), y

    def ours(params, x):
        return loss(layer.apply({"params": params}, x))

    def theirs(state, x):
        return loss(nnx.merge(graph, state, rest)(x))

    ours, theirs = (jax.jit(jax.grad(f, argnums=(0, 1), has_aux=True)) for f in (ours, theirs))
    (grads, dx), y = ours(params, x)
    (expected, dx_expected), y_expected = theirs(state, x)
    np.testing.assert_array_equal(y, y_expected)
    jax.tree.map(np.testing.assert_array_equal, dx, dx_expected)
    jax.tree.map(np.testing.assert_array_equal, grads, nnx.to_pure_dict(expected))
    assert y.dtype == y_expected.dtype
    for name, value in traverse_util.flatten_dict(grads, sep="/").items():
        assert np.abs(value).max() > 0, name
    assert all(np.abs(value).max() > 0 for value in jax.tree.leaves(dx))


class Block(linen.Module):
    """A residual block of a public ResNet, which is told its convolution."""

    conv: type = linen.Conv

    @linen.compact
    def __call__(self, x):
        y = self.conv(8, (3, 3), use_bias=False)(nnx.relu(x))
        return x + linen.BatchNorm(use_running_average=True)(y)


@pytest.mark.slow
def test_is_a_drop_in_that_reads_the_parameters_of_the_float_network():
    x = uniform(2, 4, 4, 8)
    plain = Block()
    quantized = Block(conv=functools.partial(QuantConv, w_bits=8, a_bits=None))
    variables = plain.init(jax.random.key(0), x)
    assert set(variables["params"]) == {"Conv_0", "BatchNorm_0"}
    expected, result = (net.apply(variables, x) for net in (plain, quantized))
    assert 0 < jnp.abs(result - expected).max() < 0.5


def test_layers_without_a_quantizer_take_codes():
    codes = QArray(jnp.round(3 * jnp.abs(uniform(2, 4))), jnp.asarray(0.5), 7)
    layer = QuantDense(5, w_bits=2)
    y, variables = layer.init_with_output(jax.random.key(0), codes)
    assert set(variables["params"]) == {"kernel", "bias"}
    assert y.shape == (2, 5)
    with pytest.raises(TypeError, match="inputs is a QArray, but this layer quantizes"):
        QuantDense(5, w_bits=2, a_bits=2).init(jax.random.key(0), codes)


def test_a_new_quantizer_is_that_of_nnx_and_has_the_same_label():
    x = uniform(3, 4)
    layer = ActivationQuantizer(2, signed=True, per_channel=True)
    result, variables = layer.init_with_output(jax.random.key(0), x)
    expected = n2uq.nn.ActivationQuantizer(2, signed=True, channels=4)(x)
    np.testing.assert_array_equal(result.codes, expected.codes)
    np.testing.assert_array_equal(result.scale, expected.scale)
    labels = n2uq.optimizer_labels({"q": variables["params"], "kernel": x})
    assert labels["kernel"] == "default"
    assert set(labels["q"].values()) == {"quantizer"}


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        (QuantConv(4, (3, 3), a_bits=2), ValueError, "w_bits must be given"),
        (QuantConv(4, (3, 3), w_bits=9), ValueError, "w_bits must be from 1 to 8, got 9"),
        (QuantConv(4, (3, 3), w_bits=2, a_bits=0), ValueError, "bits must be from 1 to 8, got 0"),
        (
            QuantDense(4, w_bits=2, dot_general=jax.lax.dot_general),
            TypeError,
            "dot_general is not an argument of a quantized layer",
        ),
    ],
    ids=["missing", "wide", "zero", "hook"],
)
def test_bad_arguments_are_errors(layer, error, message):
    with pytest.raises(error, match=message):
        layer.init(jax.random.key(0), uniform(2, 4, 4, 4))
