import json

import pytest

import n2uq_jax as n2uq
from n2uq_jax.export import ArtifactError
from n2uq_jax.export.artifact.manifest import digest, make_manifest, read_manifest


def test_changed_manifest_is_refused(copy):
    path = copy / "manifest.json"
    text = path.read_text()
    path.write_text(text.replace('"digit 3"', '"digit 8"'))
    with pytest.raises(ArtifactError, match=r"manifest.json was changed"):
        n2uq.load_artifact(copy)
    path.write_text(text[:100])
    with pytest.raises(ArtifactError, match=r"manifest.json is damaged"):
        n2uq.load_artifact(copy)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="is no artifact"):
        n2uq.load_artifact(copy)


def test_newer_artifact_is_refused_by_name(copy):
    path = copy / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["format_version"] = 2
    manifest["versions"]["n2uq_jax"] = "7.0"
    path.write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=r"format 2, written by n2uq_jax 7.0"):
        n2uq.load_artifact(copy)


def rewritten(folder, **changes):
    """Changes a manifest, and makes its own digest fit again."""
    path = folder / "manifest.json"
    manifest = {**json.loads(path.read_text()), **changes}
    del manifest["sha256"]
    manifest["sha256"] = digest(json.dumps(manifest, sort_keys=True).encode())
    path.write_text(json.dumps(manifest))


ABOUT = {"bytes": 3, "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"files": {"../../etc/passwd": ABOUT}}, r"names '../../etc/passwd', which is no file"),
        ({"files": {"/etc/passwd": ABOUT}}, "which is no file"),
        ({"files": {"..": ABOUT}}, "which is no file"),
        ({"files": {"a\\b": ABOUT}}, "which is no file"),
        ({"files": {"manifest.json": ABOUT}}, "which is no file"),
        ({"files": {"": ABOUT}}, "which is no file"),
        ({"files": {"report.json": ABOUT}}, "weights.safetensors is not among its files"),
        ({"files": {"report.json": 3}}, "it says 3 of report.json"),
        ({"files": {"report.json": {"bytes": "3", "sha256": ""}}}, "of report.json"),
        ({"files": ["report.json"]}, "files is list"),
        ({"files": None}, "files is NoneType"),
        ({"format_version": "1"}, "format_version is '1'"),
        ({"format_version": True}, "format_version is True"),
        ({"format_version": 0}, "format_version is 0"),
        ({"format_version": None}, "format_version is None"),
        ({"versions": []}, "damaged"),
    ],
)
def test_a_manifest_that_lies_is_refused(copy, changes, message):
    rewritten(copy, **changes)
    with pytest.raises(ArtifactError, match=message):
        read_manifest(copy)


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "3", "", "\udcff"])
def test_what_is_no_manifest_is_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ArtifactError, match=r"manifest.json is damaged"):
        read_manifest(tmp_path)


def test_a_manifest_vouches_for_its_files():
    manifest = make_manifest({"b": b"12", "a": b""}, {"versions": {"n2uq_jax": "1"}})
    assert list(manifest["files"]) == ["a", "b"]
    assert manifest["files"]["b"] == {"bytes": 2, "sha256": digest(b"12")}
    assert manifest["format_version"] == 1
    other = make_manifest({"b": b"13", "a": b""}, {"versions": {"n2uq_jax": "1"}})
    assert manifest["sha256"] != other["sha256"]
