import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from n2uq_jax.arithmetic import quantized_matmul
from n2uq_jax.nn import QuantConv, QuantConvTranspose, QuantEinsum, QuantLinear, QuantLinearGeneral
from n2uq_jax.nn.quantized import QuantizedLayer, check_options, map_codes
from n2uq_jax.quantizers import QArray, quantize_weight


class Doubling(nnx.Linear):
    """A layer of somebody else's."""

    def __call__(self, x):
        return 2 * super().__call__(x)


class QuantDoubling(QuantizedLayer, Doubling):
    """Its quantized form: what a new layer takes."""

    float_class = Doubling

    @classmethod
    def kernel_shape_of(cls, layer):
        return layer.in_features, layer.out_features

    def __call__(self, inputs):
        x, dtype = self.quantize_inputs(inputs)
        w = quantize_weight(self.kernel[...], self.w_bits)
        return 2 * self.add_bias(self.multiply(quantized_matmul, x, w).astype(dtype))


def test_a_new_layer_is_a_few_lines():
    layer = QuantDoubling(4, 3, w_bits=2, a_bits=3, signed=True, rngs=nnx.Rngs(0))
    plain = QuantLinear(4, 3, w_bits=2, a_bits=3, signed=True, rngs=nnx.Rngs(0))
    x = jnp.linspace(-1, 1, 8).reshape(2, 4)
    np.testing.assert_array_equal(layer(x), 2 * plain(x))
    float_layer = Doubling(4, 3, rngs=nnx.Rngs(0))
    assert QuantDoubling.unsupported(float_layer) is None
    assert QuantLinear.unsupported(float_layer) == "a subclass of Linear with a __call__ of its own"
    converted = QuantDoubling.from_float(float_layer, w_bits=2, a_bits=3, signed=True)
    np.testing.assert_array_equal(converted(x), layer(x))
    np.testing.assert_array_equal(converted.call_float(x), float_layer(x))


@pytest.mark.parametrize(
    ("layer", "form"),
    [
        (
            lambda: nnx.Conv(
                4, 6, (3, 2), (2, 1), padding=1, kernel_dilation=(1, 2), feature_group_count=2,
                use_bias=False, dtype=jnp.bfloat16, precision="high", rngs=nnx.Rngs(0),
            ),
            QuantConv,
        ),
        (
            lambda: nnx.ConvTranspose(
                2, 3, 3, 2, transpose_kernel=True, padding="VALID", rngs=nnx.Rngs(0)
            ),
            QuantConvTranspose,
        ),
        (lambda: nnx.LinearGeneral((2, 3), 4, axis=(-2, -1), rngs=nnx.Rngs(0)), QuantLinearGeneral),
        (lambda: nnx.Einsum("nta,hab->nthb", (2, 4, 3), (2, 3), rngs=nnx.Rngs(0)), QuantEinsum),
    ],
    ids=["conv", "transpose", "general", "einsum"],
)  # fmt: skip
def test_the_quantized_form_keeps_every_argument_of_the_float_layer(layer, form):
    layer = layer()
    new = form.from_float(layer, w_bits=2, a_bits=np.int64(3), operands="int8", signed=None)
    assert type(new) is form
    assert new.kernel is layer.kernel
    assert new.bias is layer.bias
    carried = {k: v for k, v in vars(layer).items() if k not in ("kernel_init", "bias_init")}
    for name, value in carried.items():
        if not name.startswith("_"):
            assert getattr(new, name) is value or getattr(new, name) == value, name
    assert (new.w_bits, new.a_bits, new.operands) == (2, 3, "int8")
    assert new.input_quantizer.signed is None


def test_a_layer_without_a_quantized_form_is_an_error():
    layer = QuantLinear(2, 2, w_bits=2, a_bits=2, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="layer has no quantized form: quantized already"):
        QuantLinear.from_float(layer, w_bits=2, a_bits=2)


def test_errors_of_a_product_name_the_layer():
    layer = QuantLinear(4, 3, w_bits=8, a_bits=8, operands="int8", rngs=nnx.Rngs(0))
    with pytest.raises(
        ValueError, match=r"QuantLinear with a kernel of shape \(4, 3\): operands='int8' is not"
    ):
        layer(jnp.ones((2, 4)))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"a_bits": 9}, ValueError, "a_bits must be from 1 to 8, got 9"),
        ({"signed": 1}, TypeError, "signed must be True, False or None, got 1"),
        ({"per_channel": None}, TypeError, "per_channel must be True or False, got None"),
        ({"operands": "foo"}, ValueError, "operands must be None, .* got 'foo'"),
        ({"operands": "float64"}, ValueError, "operands must be None, .* got 'float64'"),
    ],
)
def test_options_are_checked(options, error, message):
    right = {"a_bits": None, "signed": None, "per_channel": False, "operands": None}
    check_options(**right)
    with pytest.raises(error, match=message):
        check_options(**(right | options))


def test_codes_are_mapped_and_the_rest_is_kept():
    q = map_codes(jnp.negative, QArray(jnp.array([1.0, 2]), jnp.float32(3), 7))
    np.testing.assert_array_equal(q.codes, [-1, -2])
    assert (float(q.scale), q.max_code) == (3, 7)
    np.testing.assert_array_equal(map_codes(jnp.negative, jax.numpy.ones(2)), [-1, -1])
