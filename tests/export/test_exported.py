import dataclasses
import importlib.util
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import n2uq_jax as n2uq
from n2uq_jax.export import build_program, export_model, load_artifact
from n2uq_jax.export import exported as module
from n2uq_jax.export.formats.c import webassembly
from n2uq_jax.export.proof.native import NativeComparison
from tests.export.integer_network import SHAPE, network, parameters, pixels
from tests.export.networks import images


def test_report_says_what_was_proven(exported):
    result, seen = exported
    report = json.loads((result.directory / "report.json").read_text())
    assert report["verdict"] == "equal"
    assert report["data"] == "given"
    assert report["proof"]["data"]["images"] == 70
    assert report["accumulators_compared"] == result.proof.values > 30_000
    assert report["unfolded"] == dict(result.program.unfolded)
    assert len(report["unfolded"]) == 5
    weights = sum(v.size for k, v in result.program.tensors.items() if k.endswith("/weight"))
    assert report["size"]["weights"] == weights / 4
    assert report["size"]["float32"] > 4 * weights
    assert report["size"]["weights_float32"] == 4 * weights
    assert report["size"]["artifact"] < report["size"]["float32"]
    assert 0 < sum(report["size"]["formats"].values()) < report["size"]["artifact"]
    text = str(result)
    assert "16.0 times smaller than in float32" in text
    assert "on 70 images: " in text
    assert "EQUAL to the network" in text
    assert "kept in float: stages/0/0/units/0/conv/input_quantizer: reads the images" in text
    steps = {what for what, _, _ in seen}
    assert steps == {
        "Reading off thresholds",
        "Comparing every accumulator",
        "Comparing on images",
        "Writing formats",
    }
    assert all((what, total, total) in seen for what, _, total in seen)


def test_bad_arguments_write_nothing(model, tmp_path):
    directory = tmp_path / "a"
    with pytest.raises(ValueError, match=r"formats must be among .* got \['tflite'\]"):
        export_model(model, directory, image_shape=(8, 8, 1), formats=["tflite"])
    with pytest.raises(ValueError, match="formats must be among"):
        export_model(model, directory, image_shape=(8, 8, 1), formats=[])
    directory.mkdir()
    (directory / "x").write_text("")
    with pytest.raises(FileExistsError, match="is no artifact"):
        export_model(model, directory, image_shape=(8, 8, 1))
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"class_names": "abc"}, "class_names must be a sequence of strings, got 'abc'"),
        ({"class_names": ["a", 3]}, "class_names must be a sequence of strings"),
        ({"class_names": ["a", "b"]}, "class_names must have 10 entries, got 2"),
        ({"preprocessing": {"mean": object()}}, "preprocessing must be JSON-able"),
        ({"preprocessing": "grey"}, "preprocessing must be a dict, got 'grey'"),
        ({"preprocessing": {"resize": [8, 8]}}, r'preprocessing\["mean"\] must have a number'),
        (
            {"preprocessing": {"mean": [0, 0, 0], "std": [1, 1, 1], "resize": [8, 8]}},
            r"for each of 1 channels, got \[0, 0, 0\]",
        ),
        ({"preprocessing": {"mean": [0], "std": [1]}}, 'preprocessing must have "resize"'),
        ({"source": {"x": float("nan")}}, "source must be JSON-able"),
        ({"image_shape": (8, 0, 1)}, r"image_shape must be positive integers, got \(8, 0, 1\)"),
        ({"formats": "onnx"}, "formats must be among"),
        ({"title": 3}, "title must be a string or None, got 3"),
        ({"images": images(2, (8, 8, 3))}, r"images must have shape \(n, 8, 8, 1\)"),
        ({"images": images(2).astype(np.float16)}, "images must be float32 or uint8, got float16"),
    ],
)
def test_arguments_are_checked_before_any_work(model, tmp_path, monkeypatch, arguments, message):
    def enumerate_everything(*_):
        raise AssertionError("the enumeration began")

    monkeypatch.setattr(module, "build", enumerate_everything)
    with pytest.raises(ValueError, match=message):
        export_model(model, tmp_path / "a", **{"image_shape": (8, 8, 1), **arguments})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_told_before_any_work(model, tmp_path, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnx" else find_spec(name)
    )
    monkeypatch.setattr(module, "build", None)
    with pytest.raises(ImportError, match="the format qonnx needs the package onnx: pip install"):
        export_model(model, tmp_path / "a", image_shape=(8, 8, 1), formats=["qonnx"])
    assert list(tmp_path.iterdir()) == []


def test_a_page_of_float_images_is_refused_before_any_work(model, tmp_path, monkeypatch):
    monkeypatch.setattr(webassembly, "check_webassembly", lambda: None)
    monkeypatch.setattr(module, "build", None)
    with pytest.raises(ValueError, match=r"format html takes integer-only .* got one for float32"):
        export_model(model, tmp_path / "a", image_shape=(8, 8, 1), formats=["html"])


def test_integer_network_is_reported_as_such(tmp_path):
    result = export_model(
        (network, parameters()), tmp_path / "a", image_shape=SHAPE, images=pixels(20)
    )
    report = json.loads((tmp_path / "a" / "report.json").read_text())
    assert report["integer-only"] is True
    assert report["unfolded"] == {}
    assert report["verdict"] == "equal"
    assert "kept in float" not in str(result)
    loaded = load_artifact(tmp_path / "a")
    assert loaded.manifest["image_dtype"] == "uint8"
    expected = jax.jit(network)(parameters(), pixels(20))
    np.testing.assert_array_equal(loaded(pixels(20)), expected, strict=True)
    with pytest.raises(ValueError, match="images must be uint8"):
        loaded(pixels(2).astype(np.float32))


def test_noise_is_called_noise(tmp_path):
    given = (network, parameters())
    result = export_model(given, tmp_path / "a", image_shape=SHAPE)
    assert result.report["data"] == "noise"
    assert "on 64 images of noise: " in str(result)


@pytest.mark.slow
def test_a_c_program_is_compared_where_there_is_a_compiler(model, tmp_path, monkeypatch):
    found = NativeComparison(2, {"layer": 50}, {"layer": 3}, 20, 4, 1, math.inf)
    compared = []

    def compare(program, images, **_):
        compared.append(len(images))
        return found

    monkeypatch.setattr(module, "compare_native", compare)
    arguments = {"image_shape": (8, 8, 1), "images": images(2), "formats": ["c"]}
    result = export_model(model, tmp_path / "a", **arguments)
    assert compared == [2]
    assert "C program: 3 of 50 codes differ from XLA, 1 top-1" in str(result)
    report = json.loads((tmp_path / "a" / "report.json").read_text())["c"]
    assert (report["run"], report["codes"], report["differing"]) == (
        True,
        {"layer": 50},
        {"layer": 3},
    )
    assert report["largest_logit_difference"] is None
    monkeypatch.undo()
    monkeypatch.setenv("CC", "no-such-compiler")
    result = export_model(model, tmp_path / "b", **arguments)
    assert "C program: not run, since there is no C compiler 'no-such-compiler'" in str(result)
    assert json.loads((tmp_path / "b" / "report.json").read_text())["c"]["run"] is False
    assert (tmp_path / "b" / "model.c").exists()


def test_infinite_logits_are_a_failure(tmp_path):
    def overflowing(p, x):
        return network(p, x) * jnp.float32(3e38)

    result = export_model(
        (overflowing, parameters()), tmp_path / "a", image_shape=SHAPE, images=pixels(5)
    )
    report = json.loads((tmp_path / "a" / "report.json").read_text())
    assert not result.proof.ok
    assert report["verdict"] == "not equal"
    assert report["proof"]["data"]["largest_logit_difference"] is None
    assert "NOT EQUAL" in str(result)
    assert "largest logit difference nan" in str(result)


def test_float_network_has_nothing_to_export(tmp_path):
    twin = nnx.Linear(1, 3, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="no quantized layer"):
        export_model(twin, tmp_path / "a", image_shape=(8, 8, 1))


@pytest.mark.parametrize("found", ["tensor", "edge"])
def test_unequal_program_is_not_written(exported, model, program, tmp_path, monkeypatch, found):
    proof = exported[0].proof
    edges = [dataclasses.replace(edge, differing=1) for edge in proof.edges]
    wrong = {"tensor": {"tensors": ["norm/bias"]}, "edge": {"edges": edges}}[found]
    monkeypatch.setattr(module, "build", lambda *_: program)
    monkeypatch.setattr(
        module, "prove_traced", lambda *_, **__: dataclasses.replace(proof, **wrong)
    )
    with pytest.raises(module.NotEqual, match="nothing was written"):
        export_model(model, tmp_path / "a", image_shape=(8, 8, 1), images=images(2))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "path",
    [
        ("head", "bias"),
        ("stages", 0, 0, "units", 0, "norm", "mean"),
        ("stages", 0, 0, "units", 1, "conv", "input_quantizer", "intervals"),
    ],
)
def test_what_is_not_finite_is_refused_by_name(model, path):
    broken = nnx.clone(model)
    variable = broken
    for name in path:
        variable = variable[name] if isinstance(name, int) else getattr(variable, name)
    variable[...] = variable[...].at[1].set(np.nan)
    with pytest.raises(ValueError, match=f"finite parameters; {'/'.join(map(str, path))} has NaN"):
        build_program(broken, (8, 8, 1))


class TwoLayers(nnx.Module):
    """Two linear layers, of which the second reads the first one's sums alone."""

    def __init__(self, method):
        bits = {"w_bits": 2, "a_bits": 2, "use_bias": False, "method": method}
        self.first, self.second = (
            n2uq.nn.QuantLinear(8, 8, **bits, rngs=nnx.Rngs(i)) for i in range(2)
        )

    def __call__(self, x):
        return self.second(self.first(x.reshape(-1, 8)))


@pytest.mark.parametrize("method", ["lsq", "pact", "dorefa"])
def test_uniform_quantizers_have_the_same_proof(method, tmp_path):
    model = TwoLayers(method)
    x = images(64, (2, 4, 1))
    n2uq.calibrate(model, [jnp.asarray(x)])
    exported = export_model(model, tmp_path / "artifact", image_shape=(2, 4, 1), images=x)
    assert exported.proof.ok
    (read_off,) = exported.program.thresholds.values()
    assert len(exported.program.unfolded) == 1  # what reads the images

    # Every threshold is where the quantizer of real numbers has it.
    q, w = model.first.input_quantizer(jnp.asarray(x)), model.first.quantized_kernel()
    sums = np.asarray(q.codes.reshape(-1, 8) @ w.codes, np.int64)
    real = model.second.input_quantizer(jnp.asarray(sums * float(q.scale * w.scale), jnp.float32))
    codes = (sums[:, :, None] > read_off.points[None]).sum(-1)
    np.testing.assert_array_equal(codes, real.codes)
    assert set(np.unique(codes)) >= {0, 1, 2}
