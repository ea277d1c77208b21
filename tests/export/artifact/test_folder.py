import json
import os

import pytest

import n2uq_jax as n2uq
from n2uq_jax.export import ArtifactError
from n2uq_jax.export.artifact import folder


def test_files(directory):
    names = {file.name for file in directory.iterdir()}
    assert names == {"manifest.json", "model.stablehlo", "report.json", "weights.safetensors"}
    assert [p.name for p in directory.parent.iterdir()] == ["artifact"]
    manifest = json.loads((directory / "manifest.json").read_text())
    assert set(manifest["files"]) == names - {"manifest.json"}
    assert manifest["image_shape"] == [8, 8, 1]
    assert manifest["classes"] == 10
    assert manifest["backend"] == "cpu"
    assert manifest["tensors"]["stages/0/0/units/0/conv/weight"] == {
        "bits": 2,
        "offset": -3,
        "step": 2,
        "shape": [3, 3, 8, 8],
    }
    kinds = [step["kind"] for step in manifest["program"]]
    assert kinds.count("convolution") == 8
    assert kinds.count("thresholds") == 3
    assert manifest["program"][-1]["name"] == "logits"
    written = {step["name"] for step in manifest["program"]} | {"images"}
    assert {name for step in manifest["program"] for name in step["reads"]} <= written


@pytest.mark.parametrize("name", ["weights.safetensors", "model.stablehlo", "report.json"])
def test_changed_truncated_and_missing_files_are_refused(copy, name):
    file = copy / name
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ArtifactError, match=f"{name} was changed"):
        n2uq.load_artifact(copy)
    file.write_bytes(content[:-1])
    with pytest.raises(ArtifactError, match=f"{name} has {len(content) - 1} bytes instead of"):
        n2uq.load_artifact(copy)
    file.unlink()
    with pytest.raises(ArtifactError, match=f"lacks its file {name}"):
        n2uq.load_artifact(copy)


def test_taken_directories(copy, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "thesis.tex").write_text("...")
    with pytest.raises(FileExistsError, match="is no artifact"):
        folder.write_artifact(other, {}, {"versions": {}}, overwrite=True)
    with pytest.raises(FileExistsError, match="pass overwrite"):
        folder.write_artifact(copy, {}, {"versions": {}}, overwrite=False)
    manifest = {"versions": {"n2uq_jax": "0"}}
    folder.write_artifact(copy, {"weights.safetensors": b"1"}, manifest, overwrite=True)
    assert sorted(p.name for p in copy.iterdir()) == ["manifest.json", "weights.safetensors"]
    assert folder.read_artifact(copy)[1] == {"weights.safetensors": b"1"}
    assert [p.name for p in other.iterdir()] == ["thesis.tex"]


def test_failed_write_leaves_nothing(copy, monkeypatch):
    before = {p.name: p.read_bytes() for p in copy.iterdir()}

    def fail(_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        folder.write_artifact(copy, {"a": b"1"}, {"versions": {}}, overwrite=True)
    assert {p.name: p.read_bytes() for p in copy.iterdir()} == before
    assert [p for p in copy.parent.iterdir() if p.name.endswith(("unfinished", "replaced"))] == []
