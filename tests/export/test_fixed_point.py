import importlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import n2uq_jax as n2uq
from n2uq_jax.export import export_model
from n2uq_jax.export.fixed_point import _multiplier, _multiply_shift, to_fixed_point

from .conftest import images


@pytest.mark.parametrize("factor", [1e-7, 1e-3, 0.3, 1.0, 7.0, 1000.0])
def test_multiplication_by_a_parameter(factor):
    rng = np.random.default_rng(0)
    factors = factor * rng.normal(size=(1, 40))
    factors[0, :2] = [0, -factor]
    x = rng.uniform(-1, 1, (500, 40)) * min(2**29, 2**29 / np.abs(factors).max())
    x = x.astype(np.int32)
    got = np.asarray(_multiply_shift(jnp.asarray(x), jnp.asarray(_multiplier(factors))))
    # Half a unit of the 15-bit multiplier, and the rounding of the result.
    np.testing.assert_allclose(got, x * factors, rtol=2.0**-15 * 1.01, atol=2)
    assert (got[:, 0] == 0).all()


@pytest.fixture(scope="module")
def fixed(program):
    return to_fixed_point(program)


def test_codes_are_nearly_the_networks(program, fixed):
    x = images(200)
    exact_logits, exact = program.codes(x)
    logits, codes = fixed.codes(x)
    assert set(codes) == set(exact)
    for name in exact:
        share = (np.asarray(codes[name]) != np.asarray(exact[name])).mean()
        assert share < 1e-3, name
    np.testing.assert_allclose(logits, exact_logits, atol=2e-2)


def test_floats_are_left_in_stem_and_head_alone(fixed):
    floats = {name for name, array in fixed.tensors.items() if array.dtype == np.float32}
    assert floats == {
        "conv/kernel",
        "norm/scale",
        "norm/bias",
        "norm/mean",
        "norm/var",
        "head/kernel",
        "head/bias",
    }
    jaxpr = jax.make_jaxpr(fixed.run)(fixed.tensors, jnp.asarray(images(2)))
    primitives = [
        eqn.primitive.name
        for eqn in jaxpr.eqns
        if any(getattr(v.aval, "dtype", None) == jnp.float32 for v in eqn.outvars)
    ]
    # Stem, conversion to fixed point; conversion back and head.
    assert primitives.count("conv_general_dilated") == 1
    assert primitives.count("dot_general") == 1
    assert primitives.count("convert_element_type") == 1
    assert len(primitives) < 25


def test_export_measures_the_agreement(tmp_path, monkeypatch, exported, model, program):
    module = importlib.import_module("n2uq_jax.export.exported")
    monkeypatch.setattr(module, "build_program", lambda *_: program)
    monkeypatch.setattr(module, "prove", lambda *_, **__: exported[0].proof)
    result = export_model(
        model, tmp_path / "a", image_shape=(8, 8, 1), images=images(40), residual="int32"
    )
    report = json.loads((tmp_path / "a" / "report.json").read_text())
    assert report["verdict"] == "approximate"
    agreement = report["agreement"]
    assert agreement["images"] == 40
    assert agreement["codes"] == sum(n["codes"] for n in agreement["layers"].values()) > 10_000
    assert agreement["differing"] < agreement["codes"] / 1000
    assert "with residual sums in int32" in str(result)
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert manifest["residual"] == "int32"
    assert [s["kind"] for s in manifest["program"]].count("fixed point") == 8
    logits = n2uq.load_artifact(tmp_path / "a")(images(40))
    np.testing.assert_allclose(logits, program(images(40)), atol=2e-2)


def test_fixed_point_comes_as_stablehlo_alone(tmp_path, model):
    with pytest.raises(ValueError, match=r'residual must be "float", or "int32" with the format'):
        export_model(
            model, tmp_path / "a", image_shape=(8, 8, 1), formats=["onnx"], residual="int32"
        )
    assert list(tmp_path.iterdir()) == []
