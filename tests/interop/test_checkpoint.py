import pickle
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from n2uq_jax.interop import load_checkpoint, read_checkpoint, save_n2uq_state_dict
from tests.interop.networks import abstract, seeded

torch = pytest.importorskip("torch", reason="the extra torch is not installed")
safetensors_torch = pytest.importorskip("safetensors.torch")

pytestmark = pytest.mark.extra

RESNET8 = {"name": "resnet8", "bits": 2, "width": 4, "num_classes": 10}


@pytest.fixture(scope="module")
def state():
    return save_n2uq_state_dict(seeded(**RESNET8))


def tensors(state):
    return {name: torch.from_numpy(np.array(value)) for name, value in state.items()}


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        assert found[name].tobytes() == value.tobytes(), name


@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
@pytest.mark.parametrize("wrapper", ["", "state_dict", "model"])
def test_pth_tar_of_a_parallel_training_run(tmp_path, state, prefix, wrapper):
    path = tmp_path / "model_best.pth.tar"
    contents = {prefix + name: tensor for name, tensor in tensors(state).items()}
    if wrapper:
        contents = {"epoch": 128, "best_top1_acc": torch.tensor(69.4), wrapper: contents}
    torch.save(contents, path)
    assert_same(read_checkpoint(path), state)


def test_authors_file_loads_and_comes_back(tmp_path, state):
    path = tmp_path / "checkpoint.pth.tar"
    contents = {f"module.{name}": tensor for name, tensor in tensors(state).items()}
    torch.save({"state_dict": contents}, path)
    model = abstract(**RESNET8)
    report = load_checkpoint(model, path)
    assert report.initial == ()
    assert_same(save_n2uq_state_dict(model), state)


def test_safetensors_need_no_torch(tmp_path, state):
    path = tmp_path / "model.safetensors"
    save_file(state, path)
    script = (
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "import n2uq_jax\n"
        "assert 'safetensors' not in sys.modules\n"
        f"print(len(n2uq_jax.interop.read_checkpoint({str(path)!r})))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == str(len(state)), done.stderr
    found = read_checkpoint(path)
    assert_same(dict(sorted(found.items())), dict(sorted(state.items())))


def test_without_torch_the_message_names_the_extra(tmp_path, monkeypatch):
    path = tmp_path / "model.pth"
    path.write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"n2uq_jax\[torch\].*safetensors"):
        read_checkpoint(path)


def test_bfloat16_becomes_float32(tmp_path):
    values = torch.tensor([1.0, 1.5, -3.0], dtype=torch.bfloat16)
    torch.save({"a": values}, tmp_path / "a.pt")
    found = read_checkpoint(tmp_path / "a.pt")["a"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [1.0, 1.5, -3.0])


def test_bfloat16_safetensors_become_float32(tmp_path):
    values = torch.tensor([1.0, 1.5, -3.0], dtype=torch.bfloat16)
    safetensors_torch.save_file({"a": values}, tmp_path / "a.safetensors")
    found = read_checkpoint(tmp_path / "a.safetensors")["a"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [1.0, 1.5, -3.0])


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    ("dtype", "name"),
    [("float8_e4m3fn", "F8_E4M3"), ("float8_e5m2", "F8_E5M2"), ("float4_e2m1fn_x2", "F4")],
)
def test_dtypes_that_numpy_has_not_are_refused(tmp_path, dtype, name, suffix):
    narrow = torch.zeros(4, dtype=torch.uint8).view(getattr(torch, dtype))
    contents = {f"fc{i}.weight": narrow.clone() for i in range(7)} | {"fc.bias": torch.zeros(3)}
    path = tmp_path / f"model{suffix}"
    if suffix == ".pt":
        torch.save(contents, path)
        name = f"torch.{dtype}"
    else:
        safetensors_torch.save_file(contents, path)
    with pytest.raises(ValueError, match=rf"model\{suffix} holds tensors of dtype {name}") as error:
        read_checkpoint(path)
    message = str(error.value)
    assert "fc0.weight, fc1.weight, fc2.weight, fc3.weight, fc4.weight, … (7 in all)" in message
    assert "fc.bias" not in message


class RunsCode:
    def __reduce__(self):
        return (exec, ("import pathlib; pathlib.Path('ran').touch()",))


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": RunsCode()}, "code.pth.tar")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(RunsCode(), protocol=2))
    for name in ("code.pth.tar", "plain.pth"):
        with pytest.raises(ValueError, match=rf"{name} is refused: .*more than tensors"):
            read_checkpoint(name)
    assert not (tmp_path / "ran").exists()


def test_damaged_files_are_named(tmp_path, state):
    torch.save(tensors(state), tmp_path / "whole.pth")
    save_file(state, tmp_path / "whole.safetensors")
    for name in ("whole.pth", "whole.safetensors"):
        contents = (tmp_path / name).read_bytes()
        torn = tmp_path / f"torn_{name}"
        torn.write_bytes(contents[: len(contents) // 2])
        with pytest.raises(ValueError, match=rf"{torn.name} is damaged"):
            read_checkpoint(torn)
    (tmp_path / "empty.pth").touch()
    with pytest.raises(ValueError, match=r"empty\.pth is empty: it has no bytes"):
        read_checkpoint(tmp_path / "empty.pth")


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({}, "is empty: it has no tensors"),
        ([1, 2], "holds a list, not a state dict"),
        ({"state_dict": {"a": 3, "b": torch.zeros(1)}}, "holds values that are no tensors: a"),
    ],
)
def test_files_without_a_state_dict(tmp_path, contents, message):
    torch.save(contents, tmp_path / "file.pt")
    with pytest.raises(ValueError, match=message):
        read_checkpoint(tmp_path / "file.pt")


def test_unknown_kinds_and_missing_files(tmp_path):
    (tmp_path / "model.h5").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"must end in .safetensors or"):
        read_checkpoint(tmp_path / "model.h5")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_checkpoint(tmp_path / "nothing.pth")


def test_a_hub_name_is_downloaded(tmp_path, state, monkeypatch):
    import huggingface_hub

    path = tmp_path / "model.safetensors"
    save_file(state, path)
    asked = []
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda *names: asked.append(names) or str(path)
    )
    assert load_checkpoint(abstract(**RESNET8), "hf://somebody/resnet8.n2uq").initial == ()
    assert asked == [("somebody/resnet8.n2uq", "model.safetensors")]


def test_what_is_not_on_the_hub_is_named(monkeypatch):
    import huggingface_hub

    def nothing(*names):
        raise OSError("no such model")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", nothing)
    with pytest.raises(FileNotFoundError, match="hf://a/b cannot be downloaded: no such model"):
        load_checkpoint(abstract(**RESNET8), "hf://a/b")
