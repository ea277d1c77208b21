import json

import pytest

from n2uq_jax.preflight.run import check_run, check_workdir
from n2uq_jax.training.config_file import load_config
from n2uq_jax.workdir.config_json import describe_dataset, write_json


@pytest.fixture(scope="module")
def checked():
    config = load_config("digits_w2a2")
    config.model.width = 4
    config.stages = ("quantized",)
    config.quantized.init = config.quantized.teacher = None
    return check_run(config)


def test_a_run_is_told_in_two_tables(checked):
    text = str(checked)
    assert text.startswith("resnet8 on digits: 1,442 images of 8x8x1 to train on, 355 to eval")
    lines = text.splitlines()
    (stage,) = (line for line in lines if line.startswith("quantized "))
    assert stage.split()[:-1] == ["quantized", "W2A2", "random", "values", "labels", "330"]
    assert float(stage.split()[-1]) == round(checked.stages[0].memory.total / 1e6) > 0
    assert lines[lines.index("stage quantized:") + 1].startswith("layer  ")


def test_a_workdir_is_told_with_its_checkpoints(checked, tmp_path):
    contents = {
        "config": json.loads(checked.config.to_json()),
        "dataset": describe_dataset(checked.dataset),
    }
    write_json(tmp_path / "config.json", contents)
    for step in ("5", "10"):
        (tmp_path / "checkpoints/quantized" / step).mkdir(parents=True)
    text = check_workdir(tmp_path)
    assert "quantized  W2A2     5, 10" in text
    assert "stage quantized:\nlayer" in text
    with pytest.raises(FileNotFoundError, match=r"config\.json does not exist"):
        check_workdir(tmp_path / "absent")
