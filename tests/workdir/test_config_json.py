import json
import os

import jax
import pytest

from n2uq_jax import data
from n2uq_jax.training.config import default_config
from n2uq_jax.workdir.config_json import (
    open_workdir,
    read_workdir,
    without_sentinels,
    write_json,
)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture
def workdir(tmp_path, digits):
    """A run whose two stages have a checkpoint each."""
    open_workdir(tmp_path / "run", default_config(), digits)
    for stage in ("float", "quantized"):
        (tmp_path / "run/checkpoints" / stage / "5").mkdir(parents=True)
    return tmp_path / "run"


def changed(**fields):
    config = default_config()
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in fields.items()})
    return config


def test_what_was_trained_on_what(workdir):
    contents = read_workdir(workdir)
    assert contents["config"] == json.loads(default_config().to_json())
    assert contents["dataset"]["image_shape"] == [8, 8, 1]
    assert contents["dataset"]["num_classes"] == 10
    assert sorted(p.name for p in workdir.iterdir()) == ["checkpoints", "config.json"]


@pytest.mark.parametrize(
    "fields",
    [
        {"mesh__data": 2, "mesh__fsdp": 4, "mesh__slices": 2},
        {"data__dir": "/elsewhere", "data__num_workers": 3, "data__prefetch": 9},
        {"data__max_bad_records": 1, "eval_batch_size": 64, "eval_every": 3},
        {"log_every": 7, "checkpoint_every": 5, "keep_checkpoints": 9},
        {"figures": False, "export": True, "profile_steps": (1, 2)},
    ],
)
def test_a_run_goes_on_where_and_how_it_likes(workdir, digits, fields):
    config = changed(**fields)
    open_workdir(workdir, config, digits)
    assert read_workdir(workdir)["config"] == json.loads(config.to_json())


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("seed", 1, "config.seed was 0 and is now 1"),
        ("x64", True, "config.x64 was False and is now True"),
        ("batch_size", 64, "config.batch_size was 128 and is now 64"),
        ("accumulate", 2, "config.accumulate was 1 and is now 2"),
        ("batch_norm", "per_device", "config.batch_norm was 'global'"),
        ("data__name", "idx", "config.data.name was 'digits'"),
        ("data__crop_padding", 3, "config.data.crop_padding was None and is now 3"),
        ("model__w_bits", 3, "config.model.w_bits was 2 and is now 3"),
        ("float__epochs", 1.0, "config.float.epochs was 30.0 and is now 1.0"),
        ("quantized__init", "x", "config.quantized.init was 'float' and is now 'x'"),
    ],
)
def test_what_changes_the_result_is_refused_by_field(workdir, digits, field, value, message):
    before = (workdir / "config.json").read_bytes()
    with pytest.raises(ValueError, match=message):
        open_workdir(workdir, changed(**{field: value}, log_every=7), digits)
    assert (workdir / "config.json").read_bytes() == before


def test_batch_statistics_of_a_device_want_the_same_number_of_devices(
    tmp_path, digits, monkeypatch
):
    config = changed(batch_norm="per_device")
    open_workdir(tmp_path, config, digits)
    (tmp_path / "checkpoints/float/5").mkdir(parents=True)
    open_workdir(tmp_path, config, digits)
    monkeypatch.setattr(jax, "device_count", lambda: 5)
    with pytest.raises(ValueError, match="devices was 8 and is now 5"):
        open_workdir(tmp_path, config, digits)


def test_stages_that_do_not_depend_on_a_change_are_kept(workdir, digits, caplog):
    config = changed(quantized__learning_rate=0.1)
    with pytest.raises(ValueError, match=r"quantized must start anew, .*; kept: float. --restart"):
        open_workdir(workdir, config, digits)
    caplog.set_level("INFO")
    open_workdir(workdir, config, digits, restart=True)
    assert read_workdir(workdir)["config"]["quantized"]["learning_rate"] == 0.1
    names = sorted(p.name for p in (workdir / "checkpoints").iterdir())
    assert names == ["float", "quantized.before.1"]
    assert "checkpoints/quantized.before.1" in caplog.text
    open_workdir(workdir, config, digits)  # from now on it is the same run


def test_a_stage_without_a_checkpoint_may_change(workdir, digits):
    (workdir / "checkpoints/quantized/5").rmdir()
    open_workdir(workdir, changed(quantized__teacher=None, model__w_bits=3), digits)
    assert read_workdir(workdir)["config"]["model"]["w_bits"] == 3


def test_a_folder_with_other_files_is_left_alone(tmp_path, digits):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"workdir must be empty or hold a run"):
        open_workdir(tmp_path, default_config(), digits)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_an_older_config_file_means_the_same(workdir, digits):
    """Version 0.1 wrote "", 0 and -1 where there is None now."""
    contents = json.loads((workdir / "config.json").read_text())
    config = contents["config"]
    config["data"] |= {"dir": "", "image_size": 0, "crop_padding": -1}
    config["mesh"]["data"] = -1
    config |= {"checkpoint_every": 0, "profile_steps": [0, 0]}
    config["float"] |= {"init": "", "teacher": "", "teacher_weights": ""}
    config["quantized"]["teacher_weights"] = ""
    (workdir / "config.json").write_text(json.dumps(contents))
    assert read_workdir(workdir)["config"] == json.loads(default_config().to_json())
    open_workdir(workdir, default_config(), digits)


def test_only_sentinels_become_none():
    config = {"data": {"dir": "a", "num_workers": 0}, "log_every": 0, "profile_steps": (0, 0)}
    assert without_sentinels(config) == {**config, "profile_steps": None}


@pytest.mark.parametrize("text", ["", '{"config": {', "[]", '{"config": {}}', "\ud800"])
def test_a_damaged_file_is_named(workdir, text):
    (workdir / "config.json").write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(ValueError, match=r"run/config.json is damaged"):
        read_workdir(workdir)


def test_no_workdir_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"workdir must be a folder .* does not exist"):
        read_workdir(tmp_path / "nothing")


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": [1, 2]})
    assert json.loads(path.read_text()) == {"a": [1, 2]}
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": [1, 2]}
    assert os.listdir(tmp_path) == ["a.json"]
