import json

import pytest

from n2uq_jax.workdir.metrics import MetricsWriter, read_metrics


@pytest.fixture
def writer(tmp_path):
    writer = MetricsWriter(tmp_path)
    yield writer
    writer.close()


def test_a_line_a_measurement_and_a_curve_in_tensorboard(writer, tmp_path):
    writer.write("float", "train", 3, {"loss": 0.5, "epoch": 1.5})
    writer.write("float", "eval", 3, {"loss": float("nan")})
    assert read_metrics(tmp_path / "metrics.jsonl") == [
        {"stage": "float", "kind": "train", "step": 3, "loss": 0.5, "epoch": 1.5},
        {"stage": "float", "kind": "eval", "step": 3, "loss": None},
    ]
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))


def test_rewinding_drops_what_came_after_the_checkpoint(writer, tmp_path):
    for stage, step in (("float", 1), ("float", 2), ("quantized", 1), ("quantized", 2)):
        writer.write(stage, "train", step, {})
    writer.rewind("quantized", 1)
    kept = [(m["stage"], m["step"]) for m in read_metrics(tmp_path / "metrics.jsonl")]
    assert kept == [("float", 1), ("float", 2), ("quantized", 1)]
    writer.rewind("float", 1, later_stages=("quantized",))
    writer.write("float", "train", 2, {})
    kept = [(m["stage"], m["step"]) for m in read_metrics(tmp_path / "metrics.jsonl")]
    assert kept == [("float", 1), ("float", 2)]


def test_a_torn_last_line_is_passed_over_and_another_is_an_error(tmp_path):
    path = tmp_path / "metrics.jsonl"
    line = json.dumps({"stage": "float", "step": 1})
    path.write_text(line + '\n{"stage": "fl')
    assert read_metrics(path) == [{"stage": "float", "step": 1}]
    path.write_text("{torn\n" + line + "\n")
    with pytest.raises(ValueError, match="line 1 is no JSON"):
        read_metrics(path)


def test_no_file_means_no_measurements(tmp_path):
    assert read_metrics(tmp_path / "metrics.jsonl") == []
