import jax.numpy as jnp
import pytest
from flax import nnx

from n2uq_jax.models import create
from n2uq_jax.nn import (
    BatchNorm,
    QuantConv,
    QuantConvTranspose,
    QuantEinsum,
    QuantLinear,
    QuantLinearGeneral,
)
from n2uq_jax.report.size import model_bytes


@pytest.fixture
def rngs():
    return nnx.Rngs(0)


def test_a_float_network_takes_four_bytes_a_value(rngs):
    assert model_bytes(nnx.Linear(5, 3, rngs=rngs)) == 4 * (5 * 3 + 3)
    assert model_bytes(nnx.Linear(5, 3, param_dtype=jnp.bfloat16, rngs=rngs)) == 4 * (5 * 3 + 3)


def test_running_statistics_count_and_counters_do_not(rngs):
    assert model_bytes(BatchNorm(7, rngs=rngs)) == 4 * 4 * 7


@pytest.mark.parametrize(("bits", "code_bytes"), [(1, 17), (2, 34), (3, 51), (4, 68), (8, 135)])
def test_codes_are_packed_at_their_bit_width(rngs, bits, code_bytes):
    conv = QuantConv(3, 5, (3, 3), w_bits=bits, a_bits=None, use_bias=False, rngs=rngs)
    assert model_bytes(conv) == code_bytes + 4 * 5


def test_a_layer_with_bias_and_input_quantizer(rngs):
    linear = QuantLinear(6, 4, w_bits=2, a_bits=3, rngs=rngs)
    quantizer = 1 + 7 + 1 + 1
    assert model_bytes(linear) == 6 + 4 * 4 + 4 * 4 + 4 * quantizer


def test_a_shared_kernel_counts_once(rngs):
    first = QuantLinear(6, 4, w_bits=2, a_bits=None, use_bias=False, rngs=rngs)
    second = QuantLinear(6, 4, w_bits=2, a_bits=None, use_bias=False, rngs=rngs)
    apart = model_bytes(nnx.List([first, second]))
    second.kernel = first.kernel
    assert apart == 2 * model_bytes(nnx.List([first, second])) == 2 * (6 + 4 * 4)


def test_a_quantized_network_against_its_float_twin():
    def build(bits):  # without arrays: shapes are all it takes
        return nnx.eval_shape(
            lambda: create("resnet8", w_bits=bits, a_bits=bits, width=4, rngs=nnx.Rngs(0))
        )

    twin, quantized = build(None), build(2)
    kernels = [m.kernel for _, m in nnx.iter_modules(quantized) if isinstance(m, QuantConv)]
    assert len(kernels) == 8
    saved = sum(4 * k.size - k.size // 4 - 4 * k.shape[-1] for k in kernels)
    thresholds = 4 * 8 * (1 + 3 + 1 + 1)
    assert model_bytes(quantized) == model_bytes(twin) - saved + thresholds


@pytest.mark.parametrize(
    ("make", "weights", "scales"),
    [
        (lambda **o: QuantConvTranspose(2, 3, (2, 2), **o), 24, 3),
        (lambda **o: QuantConvTranspose(3, 2, (2, 2), transpose_kernel=True, **o), 24, 2),
        (lambda **o: QuantEinsum("bi,oi->bo", (5, 4), **o), 20, 5),
        (lambda **o: QuantLinearGeneral((2, 3), (4, 5), axis=(-2, -1), **o), 120, 20),
    ],
    ids=["transposed", "transposed kernel", "einsum", "general"],
)
def test_every_quantized_layer_is_packed(rngs, make, weights, scales):
    layer = make(w_bits=2, a_bits=None, rngs=rngs)
    bias = 0 if layer.bias is None else layer.bias.size
    assert model_bytes(layer) == weights // 4 + 4 * scales + 4 * bias
