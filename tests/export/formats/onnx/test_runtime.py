import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from flax import nnx

from n2uq_jax.export import build_program
from n2uq_jax.export.formats.onnx.graph import NotInOnnx
from n2uq_jax.export.formats.onnx.runtime import to_onnx
from n2uq_jax.nn import ActivationQuantizer, QuantConv, QuantLinear
from tests.export.integer_network import SHAPE as INTEGER_SHAPE
from tests.export.integer_network import network, parameters, pixels
from tests.export.networks import built, images


def run_onnx(serialised, x, *, optimized=True):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(serialised, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"images": x}), strict=True))


def assert_same(program, serialised, x):
    got = run_onnx(serialised, x)
    logits, codes = program.codes(x)
    np.testing.assert_allclose(got.pop("logits"), logits, rtol=1e-4, atol=1e-5)
    assert set(got) == set(codes)
    for name, expected in codes.items():
        np.testing.assert_array_equal(got[name], expected, err_msg=name)


@pytest.mark.parametrize("n", [1, 7])
def test_onnx_runtime_gives_the_same_codes(program, n):
    assert_same(program, to_onnx(program, codes=True), images(n))


@pytest.mark.slow
def test_depthwise_network():
    program = built("inverted")[1]
    assert_same(program, to_onnx(program, codes=True), images(9))


def test_products_multiply_bytes(program):
    model = onnx.load_from_string(to_onnx(program))
    operators = [node.op_type for node in model.graph.node]
    products = ("QLinearConv", "MatMulInteger", "Conv")
    # The stem, and three of integers with few channels.
    assert [operators.count(name) for name in products] == [1, 4, 1 + 3]
    assert {opset.domain: opset.version for opset in model.opset_import} == {"": 25}
    assert [output.name for output in model.graph.output] == ["logits"]
    kinds = [t.data_type for t in model.graph.initializer]
    assert kinds.count(onnx.TensorProto.UINT2) == 8


class Odd(nnx.Module):
    """Eight bits, groups, dilation, signed codes and a matrix product."""

    def __init__(self, rngs):
        self.wide = QuantConv(
            4, 8, (3, 3), w_bits=8, a_bits=8, kernel_dilation=2, padding=2, rngs=rngs
        )
        self.grouped = QuantConv(
            8, 8, (3, 3), 2, w_bits=2, a_bits=3, feature_group_count=2, signed=True, rngs=rngs
        )
        self.linear = QuantLinear(8, 5, w_bits=4, a_bits=4, rngs=rngs)

    def __call__(self, x):
        x = self.grouped(self.wide(x))
        return self.linear(jnp.max(x, (1, 2)))


@pytest.mark.slow  # ONNX Runtime on a large network
def test_odd_layers():
    shape = (7, 7, 4)
    program = build_program(Odd(nnx.Rngs(0)), shape)
    assert_same(program, to_onnx(program, codes=True), images(5, shape))


@pytest.mark.parametrize("n", [1, 9])
def test_integer_network_gives_the_same_integers_from_pixels_on(n):
    program = build_program((network, parameters()), INTEGER_SHAPE, image_dtype=np.uint8)
    serialised = to_onnx(program, codes=True)
    logits, codes = program.codes(pixels(n))
    for optimized in (True, False):
        got = run_onnx(serialised, pixels(n), optimized=optimized)
        np.testing.assert_array_equal(got.pop("logits"), logits)
        assert set(got) == set(codes) == {"block", "head"}
        for name, expected in codes.items():
            np.testing.assert_array_equal(got[name], expected, err_msg=name)
    model = onnx.load_from_string(serialised)
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8


class Unknown(nnx.Module):
    def __init__(self, rngs):
        self.linear = QuantLinear(4, 5, w_bits=2, a_bits=2, rngs=rngs)
        self.quantizer = ActivationQuantizer(2)

    def __call__(self, x):
        return jnp.sort(self.linear(x).mean((1, 2)))


def test_unknown_float_operations_are_named():
    program = build_program(Unknown(nnx.Rngs(0)), (2, 2, 4))
    with pytest.raises(NotInOnnx, match="does not know"):
        to_onnx(program)
    assert jax.default_backend() == "cpu"
