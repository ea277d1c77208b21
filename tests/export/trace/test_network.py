import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from n2uq_jax.arithmetic import quantized_matmul
from n2uq_jax.export import build_program, prove
from n2uq_jax.export.trace.model import trace_model
from n2uq_jax.export.trace.reference import evaluation_function
from n2uq_jax.nn import PACT, ActivationQuantizer, QuantConv, QuantLinear
from n2uq_jax.quantizers import quantize_activation, quantize_weight
from tests.export.networks import images

SHAPE = (6, 6, 4)


class Foreign(nnx.Module):
    """Somebody's own network: odd layers, and a residual stream that nothing isolates."""

    def __init__(self, rngs):
        mask = np.ones((3, 3, 4, 8), np.float32)
        mask[0, 0] = 0
        self.masked = QuantConv(
            4, 8, (3, 3), w_bits=3, a_bits=2, signed=True, padding="SAME", mask=mask, rngs=rngs
        )
        self.grouped = QuantConv(
            8, 8, (3, 3), w_bits=2, a_bits=3, per_channel=True, feature_group_count=2, rngs=rngs
        )
        self.circular = QuantConv(8, 8, (3, 3), w_bits=2, a_bits=2, padding="CIRCULAR", rngs=rngs)
        self.weights_only = QuantConv(8, 8, 1, w_bits=2, a_bits=None, rngs=rngs)
        self.pact = PACT(2)
        self.after_pact = QuantConv(8, 8, 1, w_bits=2, a_bits=None, use_bias=True, rngs=rngs)
        self.linear = QuantLinear(8, 16, w_bits=8, a_bits=8, rngs=rngs)
        self.last = QuantLinear(16, 5, w_bits=2, a_bits=2, rngs=rngs)

    def __call__(self, x):
        x = self.masked(x)
        y = self.grouped(x)
        x = x + jnp.tanh(self.circular(y))
        x = x + self.weights_only(x)
        x = self.after_pact(self.pact(nnx.max_pool(x, (2, 2), strides=(2, 2))))
        x = self.linear(x.reshape(-1, 8))
        return self.last(jnp.abs(x)).reshape(-1, 9, 5).mean(1)


@pytest.fixture(scope="module")
def foreign():
    return Foreign(nnx.Rngs(0))


def test_foreign_network_is_understood(foreign):
    network = trace_model(foreign, SHAPE)[0].at(2)
    products = {p.name: (p.codes and p.codes.bounds, p.reason) for p in network.products}
    assert products == {
        "masked": ((-3, 3), None),
        "grouped": ((0, 7), None),
        "circular": ((0, 3), None),
        "weights_only": (None, "its activations are not integer codes"),
        "after_pact": ((0, 3), None),
        "linear": ((0, 255), None),
        "last": ((0, 3), None),
    }
    sources = {q.name: (q.source and q.source.name, q.reason) for q in network.quantizers}
    assert sources == {
        "masked/input_quantizer": (None, "reads the images through float layers"),
        "grouped/input_quantizer": ("masked", None),
        "circular/input_quantizer": ("grouped", None),
        "pact": (None, "reads 3 values together, as a residual sum does"),
        "linear/input_quantizer": ("after_pact", None),
        "last/input_quantizer": ("linear", None),
    }
    assert len(network.shared) == 2


@pytest.mark.slow
def test_foreign_network_is_exact_without_float_weights(foreign):
    program = build_program(foreign, SHAPE)
    x = images(64, SHAPE)
    proof = prove(program, foreign, x)
    assert proof.ok
    assert proof.data.shared == 2
    assert "2 values that the model does not isolate were isolated" in str(proof)
    assert "last/input_quantizer" in program.folded
    for name, tensor in program.tensors.items():
        assert not name.endswith("/kernel")
        if name.endswith("/weight"):
            assert np.issubdtype(tensor.dtype, np.integer)
    assert set(program.tensors) >= {f"{n}/weight" for n in ("masked", "weights_only", "linear")}
    function, parameters = evaluation_function(foreign)
    expected = jax.jit(function)(parameters, x)
    np.testing.assert_allclose(program(x), expected, rtol=1e-5, atol=1e-6)


class Linen(nn.Module):
    """A Linen network on the plain functions."""

    @nn.compact
    def __call__(self, x):
        for i, features in enumerate((6, 5)):
            bits = jnp.full((3,), 0.5)
            start = self.param(f"start{i}", lambda _: jnp.full((), -0.4))
            kernel = self.param(f"kernel{i}", nn.initializers.normal(), (x.shape[-1], features))
            codes = quantize_activation(x, start, bits, jnp.ones(()), jnp.ones(()), signed=True)
            x = quantized_matmul(codes, quantize_weight(kernel, 4))
            x = nn.BatchNorm(use_running_average=True, name=f"norm{i}")(x)
        return x.mean((1, 2))


@pytest.mark.slow
def test_linen_network_is_exact():
    module = Linen()
    x = images(32, SHAPE)
    variables = module.init(jax.random.key(0), jnp.asarray(x))
    model = (module.apply, variables)
    program = build_program(model, SHAPE)
    assert program.folded == {"params#3": 3}
    proof = prove(program, model, x)
    assert proof.ok
    assert proof.values > 6 * 50
    assert not any("kernel" in name for name in program.tensors)


def test_range_of_an_accumulator(foreign):
    network = trace_model(foreign, SHAPE)[0].at(2)
    masked, _, circular, *_ = network.products
    weight = np.array([3, -1, 1, -3]).reshape(1, 1, 4, 1)
    for product, pads, low, high in [(masked, True, -24, 24), (circular, False, -12, 12)]:
        assert product.pads is pads
        assert product.accumulator_range(weight).bounds == (low, high)


def test_live_operations_leave_out_what_folding_replaces(program, model):
    network = program.network(2)
    everything, all_constants = network.live()
    ops, constants = network.live(program.folded)
    assert len(ops) < len(everything)
    assert {n for n in all_constants if n not in constants} >= {
        "stages/0/0/units/0/norm/mean",
        "stages/0/0/units/0/conv/scale",
        "stages/0/0/units/1/activation/slope",
        "stages/0/0/units/1/conv/input_quantizer/intervals",
    }


class NotPointwise(nnx.Module):
    def __init__(self, between, rngs):
        self.first = QuantConv(4, 4, 1, w_bits=2, a_bits=2, rngs=rngs)
        self.quantizer = ActivationQuantizer(2)
        self.between = between

    def __call__(self, x):
        return self.quantizer(self.between(self.first(x))).dequantize()


@pytest.mark.parametrize(
    ("between", "reason"),
    [
        (lambda x: nnx.avg_pool(x, (2, 2)), "reads through reduce_window_sum"),
        (lambda x: x.transpose(0, 1, 3, 2), "reads through transpose"),
        (lambda x: x * jnp.arange(6.0).reshape(1, 6, 1, 1), "reads through mul"),
        (lambda x: x[..., ::-1], "reads through rev"),
        (lambda x: x - x.mean(-1, keepdims=True), "reads through reduce_sum"),
    ],
)
def test_what_is_not_channelwise_stays_float(between, reason):
    model = NotPointwise(between, nnx.Rngs(0))
    network = trace_model(model, SHAPE)[0].at(2)
    assert network.quantizers[1].source is None
    assert network.quantizers[1].reason.startswith(reason)
