import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import n2uq_jax as n2uq
from n2uq_jax.export import export_model
from n2uq_jax.export.fixed_point import to_fixed_point
from n2uq_jax.export.int8 import input_ranges, to_int8

from .conftest import images


@pytest.fixture(scope="module")
def ranges(program):
    return input_ranges(program, images(100))


def test_ranges_are_those_of_what_enters_stem_and_head(program, ranges):
    assert set(ranges) == {"conv/kernel", "head/kernel"}
    assert ranges["conv/kernel"] == np.abs(images(100)).max()
    assert 0 < ranges["head/kernel"] < np.inf


@pytest.mark.parametrize("fixed_point", [False, True])
def test_codes_and_logits_are_nearly_the_networks(program, ranges, fixed_point):
    small = to_int8(to_fixed_point(program) if fixed_point else program, ranges)
    x = images(200)
    exact_logits, exact = program.codes(x)
    logits, codes = small.codes(x)
    shares = [(np.asarray(codes[n]) != np.asarray(exact[n])).mean() for n in exact]
    assert 0 < max(shares) < 0.05
    deviation = np.abs(np.asarray(logits) - np.asarray(exact_logits)).max()
    assert 0 < deviation < 0.1 * np.abs(exact_logits).max()


def test_no_float_product_is_left(program, ranges):
    small = to_int8(to_fixed_point(program), ranges)
    assert not any(name.endswith("/kernel") for name in small.tensors)
    for name in ("conv/kernel", "head/kernel"):
        weight = small.tensors[f"{name}/weight"]
        assert weight.dtype == np.int8
        # Each output channel uses the whole range.
        assert (np.abs(weight).reshape(-1, weight.shape[-1]).max(0) == 127).all()
    jaxpr = jax.make_jaxpr(small.run)(small.tensors, jnp.asarray(images(2)))
    products = [
        e for e in jaxpr.eqns if e.primitive.name in ("conv_general_dilated", "dot_general")
    ]
    assert len(products) > 2
    assert {v.aval.dtype for e in products for v in e.invars} == {jnp.dtype("int8")}
    assert {v.aval.dtype for e in products for v in e.outvars} == {jnp.dtype("int32")}


def test_rounding_is_that_of_the_formula(program, ranges):
    small = to_int8(program, ranges)
    kernel = np.asarray(program.tensors["head/kernel"])
    step = np.abs(kernel).max(0) / 127
    codes = small.tensors["head/kernel/weight"]
    np.testing.assert_allclose(codes * step, kernel, atol=0.501 * step.max())
    np.testing.assert_allclose(
        small.tensors["head/kernel/step"], step * ranges["head/kernel"] / 127, rtol=1e-6
    )


def test_export_measures_the_agreement(model, tmp_path):
    result = export_model(
        model,
        tmp_path / "a",
        image_shape=(8, 8, 1),
        images=images(40),
        residual="int32",
        float_layers="int8",
    )
    report = json.loads((tmp_path / "a" / "report.json").read_text())
    assert report["verdict"] == "approximate"
    agreement = report["agreement"]
    assert agreement["arithmetic"] == "float layers in int8 and residual sums in int32"
    assert 0 < agreement["differing"] < agreement["codes"] / 20
    assert "with float layers in int8 and residual sums in int32: " in str(result)
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert manifest["float_layers"] == "int8"
    artifact = n2uq.load_artifact(tmp_path / "a")
    np.testing.assert_array_equal(artifact(images(40)), result.program(images(40)))


def test_int8_comes_as_stablehlo_alone(model, tmp_path):
    with pytest.raises(ValueError, match=r'float_layers must be "float", or "int8" with the forma'):
        export_model(
            model, tmp_path / "a", image_shape=(8, 8, 1), formats=["onnx"], float_layers="int8"
        )
    assert list(tmp_path.iterdir()) == []
