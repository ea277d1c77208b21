import dataclasses
import json

import numpy as np
import pytest
from flax import nnx

from n2uq_jax.export import build_program, export_model
from n2uq_jax.export import exported as module
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
    assert report["size"]["artifact"] < report["size"]["float32"]
    text = str(result)
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


def test_nan_parameters_are_refused(model):
    broken = nnx.clone(model)
    norm = broken.stages[0][0].units[0].norm
    norm.mean[...] = norm.mean[...].at[1].set(np.nan)
    with pytest.raises(
        ValueError, match=r"finite parameters; stages/0/0/units/0/norm/mean has NaN"
    ):
        build_program(broken, (8, 8, 1))
