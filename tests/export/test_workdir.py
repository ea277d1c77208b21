import contextlib
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

import n2uq_jax as n2uq
from n2uq_jax import data, predict
from n2uq_jax.cli.command import run
from n2uq_jax.export.workdir import evaluate_artifact, export_workdir
from n2uq_jax.interop import save_n2uq_state_dict
from n2uq_jax.training.convert import convert
from n2uq_jax.training.evaluation import evaluate_workdir
from tests.export import integer_network
from tests.export.networks import make_unkind


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A workdir whose network reads scikit-learn's digits."""
    from flax import nnx

    folder = tmp_path_factory.mktemp("runs")
    shared = {"in_features": 1, "num_classes": 10, "width": 4}
    network = n2uq.models.create("resnet8", w_bits=2, a_bits=2, rngs=nnx.Rngs(0), **shared)
    save_file(save_n2uq_state_dict(make_unkind(network)), folder / "weights.safetensors")
    convert(
        "resnet8", folder / "weights.safetensors", folder / "run", w_bits=2, a_bits=2, data="digits"
    )
    return folder / "run"


@pytest.fixture(scope="module")
def artifact(workdir, tmp_path_factory):
    out = tmp_path_factory.mktemp("artifacts") / "digits"
    words = ["export", f"--workdir={workdir}", f"--out={out}", "--images=50"]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert run([*words, "--format=stablehlo,onnx"]) == 0
    assert "integer program on cpu: EQUAL to the network" in printed.getvalue()
    assert "on 50 images: 0 of" in printed.getvalue()
    return out


def test_command_writes_an_artifact(artifact):
    assert {p.name for p in artifact.iterdir()} == {
        "manifest.json",
        "model.onnx",
        "model.stablehlo",
        "report.json",
        "weights.safetensors",
    }
    manifest = json.loads((artifact / "manifest.json").read_text())
    assert manifest["preprocessing"]["resize"] == [8, 8]
    assert manifest["source"]["data"]["name"] == "digits"


@pytest.mark.slow
def test_integer_model_has_the_accuracy_of_the_network(workdir, artifact):
    metrics = evaluate_artifact(artifact, batch_size=100)
    expected = evaluate_workdir(workdir, batch_size=128)
    assert metrics["images"] == expected["images"] == 355
    assert metrics["top1"] == pytest.approx(expected["top1"])
    assert metrics["top5"] == pytest.approx(expected["top5"])


def test_predict_reads_image_files(artifact, tmp_path):
    digits = data.load("digits")
    pixels = digits.evaluation[0]["image"]
    paths = [str(tmp_path / "small.png"), str(tmp_path / "large.png")]
    image = Image.fromarray(pixels[..., 0])
    image.save(paths[0])
    image.resize((32, 24)).save(paths[1])

    small, large = predict.predict(artifact, paths, top=3)
    assert [len(small), len(large)] == [3, 3]
    loaded = n2uq.load_artifact(artifact)
    normalized = (pixels.astype(np.float32) / 255 - digits.mean[0]) / digits.std[0]
    logits = np.asarray(loaded(normalized[None].astype(np.float32)))[0]
    names = [f"class {i}" for i in np.argsort(-logits)[:3]]
    assert [name for name, _ in small] == names
    odds = np.exp(logits - logits.max())
    assert small[0][1] == pytest.approx(odds.max() / odds.sum(), rel=1e-4)


@pytest.fixture(scope="module")
def integer_artifact(tmp_path_factory):
    """A network of integers that reads scikit-learn's digits, with its C program."""
    out = tmp_path_factory.mktemp("artifacts") / "integers"
    digits = data.load("digits")
    n2uq.export_model(
        (integer_network.network, integer_network.parameters(channels=1, classes=10)),
        out,
        image_shape=(8, 8, 1),
        images=np.stack([digits.evaluation[i]["image"] for i in range(4)]),
        formats=("stablehlo", "c"),
        preprocessing={"resize": [8, 8], "channels": "grey", "mean": [0.0], "std": [1.0]},
        source={
            "data": {
                "name": "digits",
                "dir": None,
                "image_size": None,
                "crop_padding": None,
                "flip": None,
            }
        },
    )
    return str(out)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_commands_with_the_c_engine_print_what_they_do_in_xla(
    integer_artifact, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    image = tmp_path / "digit.png"
    Image.fromarray(data.load("digits").evaluation[3]["image"][..., 0]).save(image)
    for words in (["evaluate"], ["predict", str(image)]):
        printed = []
        for engine in ("xla", "c"):
            assert run([*words, f"--artifact={integer_artifact}", f"--engine={engine}"]) == 0
            printed.append(capsys.readouterr().out)
        assert printed[0] == printed[1] != ""
    assert list(tmp_path.glob("n2uq_jax/model-*.so")) != []


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["CC", "PATH"])
def test_the_c_engine_without_a_compiler_says_what_to_install(
    variable, integer_artifact, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "nowhere"))
    assert run(["evaluate", f"--artifact={integer_artifact}", "--engine=c"]) == 2
    error = capsys.readouterr().err
    assert "apt-get install gcc" in error
    assert "environment variable CC" in error
    assert error.count("\n") == 1


def test_predict_says_what_is_wrong(artifact, tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match=r"notes.txt is no image"):
        predict.predict(artifact, [str(tmp_path / "notes.txt")])
    with pytest.raises(FileNotFoundError):
        predict.predict(artifact, [str(tmp_path / "absent.png")])


def test_missing_workdir_and_taken_target(workdir, artifact, tmp_path):
    with pytest.raises(FileNotFoundError, match="workdir must be a folder"):
        export_workdir(tmp_path / "absent", tmp_path / "out")
    with pytest.raises(FileExistsError, match="already holds an artifact"):
        export_workdir(workdir, artifact)
    assert list(tmp_path.iterdir()) == []
