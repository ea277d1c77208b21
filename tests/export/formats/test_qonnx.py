import warnings

import numpy as np
import onnx
import pytest

from n2uq_jax.export import build_program
from n2uq_jax.export.formats.qonnx import DOMAIN, to_qonnx
from tests.export.integer_network import SHAPE, network, parameters, pixels
from tests.export.networks import built, images

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    execution = pytest.importorskip("qonnx.core.onnx_exec", reason="qonnx is not installed")
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.infer_shapes import InferShapes


def run_qonnx(serialised, x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ModelWrapper(onnx.load_from_string(serialised)).transform(InferShapes())
        return execution.execute_onnx(model, {"images": x})


def assert_same(program, n):
    x = images(n)
    got = run_qonnx(to_qonnx(program, batch_size=n, codes=True), x)
    logits, codes = program.codes(x)
    np.testing.assert_allclose(got.pop("logits"), logits, rtol=1e-4, atol=1e-5)
    assert set(got) == set(codes)
    for name, expected in codes.items():
        np.testing.assert_array_equal(got[name], expected, err_msg=name)


def test_qonnx_gives_the_same_codes(program):
    assert_same(program, 4)


@pytest.mark.slow
def test_depthwise_network():
    assert_same(built("inverted")[1], 2)


def test_conventions(program):
    model = onnx.load_from_string(to_qonnx(program))
    nodes = list(model.graph.node)
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    thresholds = [node for node in nodes if node.op_type == "MultiThreshold"]
    assert len(thresholds) >= 8
    for node in thresholds:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        assert node.domain == DOMAIN
        assert attributes["out_dtype"] in (b"UINT2", b"UINT8")
        values = constants[node.input[1]]
        assert values.ndim == 2
        assert np.isfinite(values).all()
        assert (np.diff(values, axis=1) >= 0).all()
    for node in nodes:
        if node.op_type == "Quant":
            weight, scale, zero_point, bits = (constants[name] for name in node.input)
            assert (scale, zero_point, bits) == (1, 0, 3)  # -3 needs a third bit
            assert set(np.unique(weight)) <= {-3, -1, 1, 3}
    assert sum(node.op_type == "Quant" for node in nodes) == 8
    (images_info,) = model.graph.input
    dims = [d.dim_value for d in images_info.type.tensor_type.shape.dim]
    assert dims == [1, 8, 8, 1]


def test_integer_network_gives_the_same_integers_from_pixels_on():
    program = build_program((network, parameters()), SHAPE, image_dtype=np.uint8)
    x = pixels(5)
    got = run_qonnx(to_qonnx(program, batch_size=5, codes=True), x)
    logits, codes = program.codes(x)
    np.testing.assert_array_equal(got.pop("logits"), logits)
    assert set(got) == set(codes) == {"block", "head"}
    for name, expected in codes.items():
        np.testing.assert_array_equal(got[name], expected, err_msg=name)
