import json
import shutil

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


def test_a_full_disk_is_named_before_a_line_is_torn(writer, tmp_path, monkeypatch):
    writer.write("float", "train", 1, {})
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
    with pytest.raises(OSError, match="No space left on device"):
        writer.write("float", "train", 2, {})
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 1


def line(**values):
    return json.dumps({"stage": "float", "kind": "train", "step": 1, **values}) + "\n"


def test_a_torn_last_line_is_passed_over(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(line(loss=1.5) + line(step=2)[:-20])
    (row,) = read_metrics(path)
    assert row == {"stage": "float", "kind": "train", "step": 1, "loss": 1.5}
    path.write_text(line() + line(step=2)[:-1])  # whole, but for its end
    assert [row["step"] for row in read_metrics(path)] == [1, 2]


@pytest.mark.parametrize("bad", ["{torn\n", '{"stage": "float"}\n', "[1, 2]\n", "\n"])
def test_a_damaged_line_is_named_wherever_it_is(tmp_path, bad):
    path = tmp_path / "metrics.jsonl"
    for text in (line() + bad, line() + bad + line(step=2)):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"metrics.jsonl, line 2, is not a line of metrics"):
            read_metrics(path)


def test_an_empty_file_has_no_measurements_and_no_file_is_an_error(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with pytest.raises(FileNotFoundError, match=r"No metrics at .*metrics\.jsonl"):
        read_metrics(path)
    path.touch()
    assert read_metrics(path) == []


def test_a_run_that_was_killed_while_it_wrote_goes_on(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        writer.write("float", "train", 1, {})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(line(step=2)[:-20])
    with MetricsWriter(tmp_path) as writer:
        writer.rewind("float", 1)
        writer.write("float", "train", 2, {})
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2]
