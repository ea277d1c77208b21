import copy
import json

import pytest

from n2uq_jax.training.config import default_config
from n2uq_jax.workdir.config_json import CHANGEABLE
from n2uq_jax.workdir.resume import changes, set_aside

STAGES = ("float", "quantized", "integer")


@pytest.fixture
def compare(tmp_path):
    """Compares a run of three stages, each with a checkpoint, with the same after a change."""
    config = default_config()
    config.stages = STAGES
    before = {"config": json.loads(config.to_json()), "dataset": {"num_classes": 10}}
    for stage in STAGES:
        (tmp_path / stage / "5").mkdir(parents=True)

    def compare(path, value, stages=STAGES):
        after = copy.deepcopy(before)
        after["config"]["stages"] = list(stages)
        *groups, last = path.split(".")
        node = after
        for group in groups:
            node = node[group]
        node[last] = value
        return changes(before, after, CHANGEABLE, tmp_path)

    return compare


@pytest.mark.parametrize(
    ("field", "value", "anew"),
    [
        ("config.log_every", 3, ""),
        ("config.stages", ["float", "quantized"], ""),
        ("config.unused", {"epochs": 1.0}, ""),
        ("config.integer.epochs", 3.0, "integer"),
        ("config.model.stem_bits", 6, "integer"),
        ("config.quantized.epochs", 3.0, "quantized integer"),
        ("config.model.w_bits", 3, "quantized integer"),
        ("config.model.integer_only", True, "quantized integer"),
        ("config.float.seed", 3, "float quantized integer"),
        ("config.model.dtype", "bfloat16", "float quantized integer"),
        ("config.seed", 3, "float quantized integer"),
        ("config.data.flip", True, "float quantized integer"),
        ("dataset.num_classes", 9, "float quantized integer"),
        ("devices", 4, "float quantized integer"),
    ],
)
def test_stages_start_anew_that_depend_on_what_has_changed(compare, field, value, anew):
    found = compare(field, value)
    assert list(found.anew) == anew.split()
    assert sorted([*found.anew, *found.kept]) == sorted(
        STAGES if field != "config.stages" else STAGES[:2]
    )


def test_a_stage_that_is_left_out_is_no_exception(compare):
    found = compare("config.quantized.epochs", 3.0, stages=STAGES[:2])
    assert list(found.anew) == ["quantized", "integer"]
    assert found.kept == ["float"]


def test_why_is_said(compare):
    found = compare("config.quantized.epochs", 3.0)
    assert str(found) == (
        "config.quantized.epochs was 30.0 and is now 3.0; quantized must start anew, for it "
        "depends on config.quantized.epochs; integer must start anew, for it depends on stage "
        "quantized; kept: float"
    )


def test_what_changes_no_result_is_no_change(compare):
    assert compare("config.mesh.fsdp", 4).fields == {}


def test_stages_without_checkpoints_are_neither_kept_nor_started_anew(compare, tmp_path):
    (tmp_path / "integer/5").rmdir()
    found = compare("config.quantized.epochs", 3.0)
    assert (list(found.anew), found.kept) == (["quantized"], ["float"])


def test_nothing_is_deleted(compare, tmp_path):
    for number in (1, 2):
        (tmp_path / "float/7").mkdir(parents=True)
        assert set_aside(tmp_path, "float") == tmp_path / f"float.before.{number}"
    assert (tmp_path / "float.before.1/5").is_dir()
