"""Conversion of PyTorch checkpoints, whole and broken."""

import pickle
import subprocess

import numpy as np
import pytest
from flax import nnx

import n2uq_jax as n2uq
from n2uq_jax.cli.command import run
from n2uq_jax.interop import save_n2uq_state_dict
from n2uq_jax.training.convert import convert
from n2uq_jax.training.evaluation import evaluate_workdir
from tests.interop.networks import seeded

torch = pytest.importorskip("torch", reason="the extra torch is not installed")

pytestmark = pytest.mark.extra

DIGITS = {"in_features": 1, "num_classes": 10, "width": 4}


def save(path, state, prefix="module."):
    tensors = {prefix + name: torch.from_numpy(np.array(value)) for name, value in state.items()}
    torch.save({"epoch": 3, "state_dict": tensors}, path)
    return path


@pytest.fixture(scope="module")
def state():
    return save_n2uq_state_dict(seeded("resnet8", 2, **DIGITS))


def test_checkpoint_to_workdir_to_network_and_accuracy(tmp_path, state):
    source = save(tmp_path / "best.pth.tar", state)
    convert("resnet8", source, tmp_path / "run", w_bits=2, a_bits=2, data="digits")
    model = n2uq.load(tmp_path / "run")
    loaded = save_n2uq_state_dict(model)
    assert all(loaded[name].tobytes() == value.tobytes() for name, value in state.items())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.pth.tar", "run"]

    metrics = evaluate_workdir(tmp_path / "run", batch_size=128)
    assert metrics["images"] == 355
    assert 0 <= metrics["top1"] <= 1


def test_shortcuts_width_and_classes_are_read_off_the_checkpoint(tmp_path):
    network = seeded("resnet14", 3, quantize_downsample=False, num_classes=7, width=8)
    source = save(tmp_path / "best.pth", save_n2uq_state_dict(network))
    convert("resnet14", source, tmp_path / "run", w_bits=4, a_bits=3, data="tiny")
    model = n2uq.load(tmp_path / "run")
    assert model.head.out_features == 7
    assert type(model.stages[1][0].shortcut.conv) is nnx.Conv
    unit = model.stages[0][0].units[0]
    assert (unit.conv.in_features, unit.conv.w_bits, unit.conv.a_bits) == (8, 4, 3)


def torn(path, state):
    contents = save(path, state).read_bytes()
    path.write_bytes(contents[: len(contents) // 2])


def with_code(path, state):
    path.write_bytes(pickle.dumps({"state_dict": subprocess.Popen}, protocol=2))


def changed(**values):
    def write(path, state):
        save(path, {**state, **{k.replace("__", "."): v for k, v in values.items()}})

    return write


MALFORMED = {
    "empty": (lambda path, state: path.touch(), "is empty"),
    "truncated": (torn, "is damaged"),
    "text": (lambda path, state: path.write_text("404: Not Found"), "is damaged"),
    "code": (with_code, "is refused: it holds more than tensors"),
    "no tensors": (lambda path, state: torch.save({"state_dict": {}}, path), "no tensors"),
    "numbers": (lambda path, state: torch.save({"a": 1}, path), "are no tensors: a"),
    "wrong architecture": (
        lambda path, state: save(path, save_n2uq_state_dict(seeded("resnet14", 2, **DIGITS))),
        r"129 faults in 171 expected tensors:\n  layer1\.1\.bias11\.bias is unexpected",
    ),
    "wrong bits": (
        lambda path, state: save(path, save_n2uq_state_dict(seeded("resnet8", 3, **DIGITS))),
        r"quan1\.a has shape \(7,\), expected \(3,\)",
    ),
    "extra tensor": (changed(extra=np.zeros(3)), "extra is unexpected"),
    "NaN": (
        changed(bn1__bias=np.full(4, np.nan, np.float32)),
        "bn1.bias has 4 values that are NaN",
    ),
    "clip_val": (
        changed(layer1__0__conv1__clip_val=np.full(1, 3, np.float32)),
        r"clip_val is \[3.0\], but it is a constant",
    ),
    "torchvision's names": (
        lambda path, state: save(
            path,
            {
                name: value
                for name, value in state.items()
                if not any(part in name for part in ("quan", "prelu", "bias1", "bias2", "bias3"))
                and name.rpartition(".")[2] not in ("clip_val", "zero")
            },
        ),
        "faults",
    ),
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_malformed_checkpoints_leave_nothing(fault, tmp_path, state):
    write, message = MALFORMED[fault]
    source = tmp_path / "checkpoint.pth.tar"
    write(source, state)
    with pytest.raises(ValueError, match=message):
        convert("resnet8", source, tmp_path / "run", w_bits=2, a_bits=2, data="digits")
    assert list(tmp_path.iterdir()) == [source]


def test_bad_arguments_leave_nothing(tmp_path, state):
    source = save(tmp_path / "best.pth", state)
    bits = {"w_bits": 2, "a_bits": 2, "data": "digits"}
    with pytest.raises(ValueError, match="arch must be one of resnet18"):
        convert("resnet9", source, tmp_path / "run", **bits)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        convert("resnet8", tmp_path / "other.pth", tmp_path / "run", **bits)
    with pytest.raises(ValueError, match="must both be given"):
        convert("resnet8", source, tmp_path / "run", w_bits=2, a_bits=None)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="workdir must not exist yet or be an empty folder"):
        convert("resnet8", source, tmp_path / "full", **bits)
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["notes.txt"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.pth", "full"]


def test_command_line(tmp_path, state, capsys):
    source = save(tmp_path / "best.pth.tar", state)
    words = ["import", "--arch=resnet8", "--data=digits"]
    words += [f"--checkpoint={source}", f"--workdir={tmp_path / 'run'}"]
    assert run([*words, "--bits=3"]) == 2
    assert capsys.readouterr().err.startswith("n2uq: error: state does not fit")
    assert not (tmp_path / "run").exists()
    assert run([*words, "--bits=2"]) == 0
    assert capsys.readouterr().out.startswith("wrote")
    assert (tmp_path / "run" / "config.json").is_file()
