import numpy as np
import pytest

import n2uq_jax as n2uq
from n2uq_jax.export import ArtifactError, export_model, load_artifact
from n2uq_jax.export.artifact import folder
from tests.export import integer_network
from tests.export.networks import images


def test_loaded_artifact_computes_what_the_program_does(directory, program):
    loaded = n2uq.load_artifact(directory)
    x = images(9)
    np.testing.assert_allclose(loaded(x), program(x), rtol=1e-6, atol=1e-6)
    assert loaded.manifest["class_names"][3] == "digit 3"
    with pytest.raises(ValueError, match=r"images must be float32 of shape \(batch, 8, 8, 1\)"):
        loaded(x.astype(np.float64))
    with pytest.raises(ValueError, match=r"got float32 of shape \(8, 8, 1\)"):
        loaded(x[0])


def test_representation_fits_ten_lines(directory):
    lines = repr(n2uq.load_artifact(directory)).splitlines()
    assert len(lines) <= 10
    assert max(map(len, lines)) < 200
    assert lines[1] == "  images: float32, (batch, 8, 8, 1)"
    assert "model.stablehlo" in lines[3]


def test_later_changes_of_the_file_are_not_read(copy, program):
    loaded = n2uq.load_artifact(copy)
    (copy / "model.stablehlo").write_bytes(b"something else")
    np.testing.assert_allclose(loaded(images(3)), program(images(3)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["weights.safetensors", "model.stablehlo"])
def test_damage_with_fitting_digests_is_an_error(copy, name):
    manifest, contents = folder.read_artifact(copy)
    about = {k: v for k, v in manifest.items() if k not in ("files", "sha256", "format_version")}
    contents[name] = contents[name][: len(contents[name]) // 2]
    folder.write_artifact(copy, contents, about, overwrite=True)
    with pytest.raises(ArtifactError, match="cannot be read"):
        n2uq.load_artifact(copy)


def test_an_artifact_without_stablehlo_says_so(copy):
    manifest, contents = folder.read_artifact(copy)
    del contents["model.stablehlo"]
    about = {k: v for k, v in manifest.items() if k not in ("files", "sha256", "format_version")}
    folder.write_artifact(copy, contents, about, overwrite=True)
    with pytest.raises(ArtifactError, match=r"has no model.stablehlo"):
        n2uq.load_artifact(copy)


@pytest.fixture(scope="module")
def integer_artifact(tmp_path_factory):
    return export_model(
        (integer_network.network, integer_network.parameters()),
        tmp_path_factory.mktemp("integer") / "artifact",
        image_shape=integer_network.SHAPE,
        images=integer_network.pixels(4),
        formats=("stablehlo", "c"),
    ).directory


@pytest.mark.slow
def test_the_c_engine_gives_the_same_logits(integer_artifact):
    images = integer_network.pixels(5)
    native = load_artifact(integer_artifact, engine="c", threads=2)
    np.testing.assert_array_equal(native(images), load_artifact(integer_artifact)(images))
    assert "files: model.c, model.h, model.stablehlo" in repr(native)
    with pytest.raises(ValueError, match=r"images must be uint8 of shape \(batch, 6, 6, 3\)"):
        native(images.astype(np.float32))


def test_an_engine_needs_its_program(directory):
    with pytest.raises(ArtifactError, match=r"has no model\.c: export it with --format c"):
        load_artifact(directory, engine="c")
    with pytest.raises(ValueError, match="engine must be one of xla, c; got 'gpu'"):
        load_artifact(directory, engine="gpu")
    with pytest.raises(ValueError, match="threads must be None for the engine xla, got 2"):
        load_artifact(directory, threads=2)
