"""A network of integer-only layers, from pixels to logits in every format."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import n2uq_jax as n2uq
from n2uq_jax.export import build_program, export_model, prove
from n2uq_jax.export.proof.runtimes import compare_runtimes, onnx_runtime
from n2uq_jax.models.integer.blocks import IntegerResidualBlock
from n2uq_jax.models.integer.form import IntegerOnly
from n2uq_jax.models.layers import ConvShape, Precision
from n2uq_jax.nn.integer import average_pool, max_pool, relu, set_grids

SHAPE = (8, 8, 3)
FORM = IntegerOnly(Precision(2, 2), stream_bits=8, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))


class Tiny(nnx.Module):
    """A stem, a block that begins a stream, one that adds to it, and a head."""

    image_dtype = jnp.uint8

    def __init__(self, form=FORM):
        rngs = nnx.Rngs(0)
        self.pixels = form.pixels(3)
        self.conv = form.stem_conv(ConvShape(3, 4, 3), rngs=rngs)
        self.norm = form.norm(4, rngs=rngs)
        self.grid = form.grid()
        wide = [ConvShape(4, 4, 3, 2), ConvShape(4, 6, 1)]
        self.first = IntegerResidualBlock(wide, form=form, rngs=rngs)
        self.second = IntegerResidualBlock([ConvShape(6, 6, 3)], form=form, rngs=rngs)
        self.head = form.head(6, 3, rngs=rngs)

    def __call__(self, images):
        x = relu(self.norm(self.conv(self.pixels(images)), self.grid))
        x = max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        x = self.second(self.first(x, self.first.grid), self.first.grid)
        return self.head(average_pool(x)).dequantize()


def pixels(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE)).astype(np.uint8)


def make(form=FORM, size=1.0, grids=True):
    """Returns a network with unkind parameters, ``size`` times as large as usual ones."""
    model, rng = Tiny(form), np.random.default_rng(0)
    for _, layer in nnx.iter_modules(model):
        for name in ("scale", "bias", "mean", "slope", "bias_in", "bias_out"):
            variable = getattr(layer, name, None)
            if isinstance(variable, nnx.Variable):
                variable[...] = jnp.float32(rng.normal(size=variable.shape) * 0.5 * size)
        if isinstance(getattr(layer, "var", None), nnx.Variable):
            layer.var[...] = jnp.float32(rng.uniform(0.5, 20, layer.var.shape) / size)
    if grids:
        set_grids(model, [pixels(32)])
    model.eval()
    return model


@pytest.fixture(scope="module")
def model():
    return make()


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    return export_model(
        model,
        tmp_path_factory.mktemp("integer_only") / "artifact",
        image_shape=SHAPE,
        images=pixels(40),
        formats=("stablehlo", "onnx", "qonnx"),
    )


def test_everything_is_folded_and_equal(exported):
    assert exported.program.unfolded == {}
    assert exported.program.integer_only
    assert len(exported.program.folded) == 4
    assert exported.proof.ok
    assert exported.proof.data.differing == 0
    assert exported.proof.data.largest_logit_difference == 0
    assert exported.report["integer-only"] is True
    assert "integer-only program" in str(exported)
    assert "kept in float" not in str(exported)


def test_stablehlo_has_no_float_but_the_last_scale(exported):
    content = (exported.directory / "model.stablehlo").read_bytes()
    text = jax.export.deserialize(bytearray(content)).mlir_module()
    operations = re.findall(r"stablehlo\.(\w+)[^\n]*f(?:16|32|64)", text)
    moves = {"reshape", "broadcast_in_dim", "dynamic_broadcast_in_dim", "optimization_barrier"}
    assert [name for name in operations if name not in moves] == ["convert", "multiply"]
    assert text.count("stablehlo.multiply") > 5  # the others are of integers


EXTREMES = np.stack(
    [
        np.zeros(SHAPE),
        np.full(SHAPE, 255),
        np.indices(SHAPE).sum(0) % 2 * 255,
        np.indices(SHAPE)[0] % 2 * 255,
        np.indices(SHAPE)[2] % 2 * 255,
    ]
).astype(np.uint8)


@pytest.mark.parametrize("images", [pixels(33, seed=5), EXTREMES], ids=["noise", "extremes"])
def test_runtimes_give_the_same_integers_from_pixels(model, exported, images):
    pytest.importorskip("onnxruntime")
    expected = np.asarray(jax.jit(lambda x: model(x))(images))
    assert len(np.unique(expected)) > 5
    artifact = n2uq.load_artifact(exported.directory)
    np.testing.assert_array_equal(artifact(images), expected)
    run = onnx_runtime(exported.directory / "model.onnx")
    np.testing.assert_array_equal(run(images), expected)
    (comparison,) = compare_runtimes(exported.directory, images)
    assert comparison.differing == 0
    assert comparison.logits == expected.size
    assert "in ONNX Runtime and in XLA: the same, 0 of" in str(comparison)


def test_qonnx_gives_the_same_integers_from_pixels(model, exported):
    wrapper = pytest.importorskip("qonnx.core.modelwrapper")
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    graph = wrapper.ModelWrapper(str(exported.directory / "model.qonnx.onnx"))
    graph = graph.transform(InferShapes())
    for image in (pixels(1, seed=7), EXTREMES[2:3]):
        got = execute_onnx(graph, {"images": image})["logits"]
        np.testing.assert_array_equal(got, np.asarray(jax.jit(lambda x: model(x))(image)))


def test_constants_are_named_after_their_layer(exported):
    names = set(exported.program.tensors)
    layers = ("norm", "first/shortcut/norm", "first/units/1/norm", "first/activation", "head/grid")
    for layer in layers:
        assert {f"{layer}/{part}" for part in ("multiplier", "offset", "shift")} <= names
    assert {f"second/activation/bias_{side}_integers" for side in ("in", "out")} <= names


def test_an_off_by_one_in_a_constant_is_caught(model, exported):
    program = exported.program
    names = {f"norm/{part}" for part in ("multiplier", "shift", "offset")}
    names |= {"first/activation/multiplier", "head/integers"}
    tensors = {name: np.array(value) for name, value in program.tensors.items()}
    for name in names:
        tensors[name].flat[0] += 1
    proof = prove(dataclasses.replace(program, tensors=tensors), model, pixels(2))
    assert not proof.ok
    assert set(proof.tensors) == names


@pytest.mark.parametrize("name", ["norm/multiplier", "norm/shift", "first/activation/multiplier"])
def test_a_wrong_constant_is_seen_in_what_the_program_computes(model, exported, name):
    program = exported.program
    array = np.array(program.tensors[name])
    array += 1 if name.endswith("shift") else array // 2
    run = jax.jit(program.run)
    right = run(program.tensors, program.thresholds, pixels(40))
    wrong = run({**program.tensors, name: array}, program.thresholds, pixels(40))
    pairs = zip(jax.tree.leaves(right), jax.tree.leaves(wrong), strict=True)
    assert any((a != b).any() for a, b in pairs)


def test_a_zero_point_off_by_one_is_caught(model):
    moved = dataclasses.replace(FORM, mean=(0.504, 0.4, 0.3))
    assert Tiny(moved).pixels.zero_point[0] == Tiny().pixels.zero_point[0] + 1
    other = make(moved, grids=False)
    nnx.update(other, nnx.state(model))
    proof = prove(build_program(other, SHAPE), model, pixels(40))
    assert not proof.ok
    assert proof.data.differing > 0


@pytest.mark.slow
@pytest.mark.parametrize("size", [1e-6, 1e4])
def test_parameters_at_their_limits_do_not_overflow(size):
    model = make(dataclasses.replace(FORM, stream_bits=16), size=size, grids=False)
    program = build_program(model, SHAPE)  # which checks every range
    assert program.integer_only
    logits = np.asarray(jax.jit(lambda x: model(x))(EXTREMES))
    np.testing.assert_array_equal(program(EXTREMES), logits)
    assert np.isfinite(logits).all()
