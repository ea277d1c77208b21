import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

from n2uq_jax.export import build_program
from n2uq_jax.export.formats.onnx.builder import OnnxBuilder
from n2uq_jax.export.formats.onnx.graph import NotInOnnx
from tests.export.dense_network import SHAPE, affine, built, multiply, network, parameters, quantize

OPSET = 17


class Floats(OnnxBuilder):
    """Writes down what it is asked for, and computes no integers."""

    def __init__(self, program, batch_size=None):
        super().__init__(program, OPSET, batch_size)
        self.names = {self.images: "images"}
        self.steps = []

    def apply_thresholds(self, quantizer, source):
        self.steps.append(quantizer.name)
        self.names[quantizer.codes] = "codes"

    def multiply(self, product):
        self.steps.append(product.name)
        self.names[product.accumulator] = "sums"

    def floats(self, value):
        return self.names[value]

    int32 = codes = floats

    def code_type(self, value):
        return onnx.TensorProto.INT8

    def hold_floats(self, value, name):
        self.names[value] = name

    hold_int32 = hold_floats


def test_the_model_names_what_goes_in_and_out():
    builder = Floats(built()[0])
    (quantizer,) = builder.network.quantizers
    model = builder.model(outputs={"head": quantizer.codes}, extra_opsets={"qonnx": 2})
    assert builder.steps == ["dense", "head"]
    shapes = {}
    for value in (*model.graph.input, *model.graph.output):
        kind = value.type.tensor_type
        dims = [d.dim_param or d.dim_value for d in kind.shape.dim]
        shapes[value.name] = (onnx.TensorProto.DataType.Name(kind.elem_type), dims)
    assert shapes == {
        "images": ("UINT8", ["batch", 1, 1, 2]),
        "logits": ("FLOAT", ["batch", 3]),
        "head": ("INT8", ["batch", 3]),
    }
    assert {opset.domain: opset.version for opset in model.opset_import} == {
        "": OPSET,
        "qonnx": 2,
    }


def test_a_batch_size_may_be_given():
    model = Floats(built()[0], batch_size=4).model(outputs={})
    batches = [
        v.type.tensor_type.shape.dim[0].dim_value for v in (*model.graph.input, *model.graph.output)
    ]
    assert batches == [4, 4]


def test_what_does_not_depend_on_the_images_is_computed_here():
    def scaled(p, images):
        table = jnp.cumsum(jnp.sin(p["head"]["intervals"]))  # ONNX has no such cumsum
        return network(p, images) * table[None]

    program = build_program((scaled, parameters()), SHAPE, image_dtype=np.uint8)
    model = Floats(program).model(outputs={})
    expected = jax.jit(lambda: jnp.cumsum(jnp.sin(parameters()["head"]["intervals"])))()
    arrays = [onnx.numpy_helper.to_array(t).ravel() for t in model.graph.initializer]
    assert any(a.size == 3 and np.allclose(a, expected) for a in arrays)
    assert "Sin" not in {node.op_type for node in model.graph.node}


def test_operations_with_several_results_are_refused():
    def both(p, images):
        u = jnp.sin(affine(p["dense"], multiply(p["dense"], images)))
        values, _ = jax.lax.top_k(quantize(p["head"], u), 2)
        return values

    program = build_program((both, parameters()), SHAPE, image_dtype=np.uint8)
    with pytest.raises(NotInOnnx, match="does not know top_k with 2 results"):
        Floats(program).model(outputs={})


def test_pools_beyond_the_integers_of_floats_are_refused():
    def pooled(p, images):
        sums = multiply(p["dense"], images) * 1_000_000
        pool = jax.lax.reduce_window(sums, -(2**31), jax.lax.max, (1, 2), (1, 1), "VALID")
        return network(p, images) + pool.max(1)[:, None].astype(jnp.float32)

    p = parameters()
    program = build_program((pooled, p), SHAPE, image_dtype=np.uint8)
    with pytest.raises(NotInOnnx, match="max-pools beyond the integers of float32"):
        Floats(program).model(outputs={})
