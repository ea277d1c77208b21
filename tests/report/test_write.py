import io
import json

import pytest
from flax import nnx
from rich.console import Console

from n2uq_jax import data
from n2uq_jax.cli.command import run as command
from n2uq_jax.report import write as module
from n2uq_jax.report.write import write_report
from n2uq_jax.training.config import default_config
from n2uq_jax.workdir.config_json import open_workdir
from tests.report.tiny import Tiny

METRICS = [
    ("float", "train", 1, 2.0, 0.25, 0.5),
    ("float", "eval", 1, 1.0, 0.5, 0.75),
    ("quantized", "eval", 1, 1.0, 0.625, 0.875),
    ("quantized", "eval", 2, 1.0, 0.375, 0.8125),
]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A workdir of two evaluated stages, and the network that is loaded from it."""
    config = default_config()
    config.model.width = 4
    open_workdir(tmp_path, config, data.load("digits"))
    names = ("stage", "kind", "step", "loss", "top1", "top5")
    rows = [dict(zip(names, row, strict=True), epoch=row[2]) for row in METRICS]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = Tiny(nnx.Rngs(0))
    monkeypatch.setattr(module, "load", lambda _: model)
    return tmp_path


def report(run, **options):
    text = io.StringIO()
    written = write_report(run, console=Console(file=text, width=200), **options)
    return text.getvalue(), [path.relative_to(run).as_posix() for path in written]


def test_table_and_pictures(run):
    text, written = report(run)
    assert written == ["figures/training_curves.png", "figures/staircases.png"]
    assert all((run / name).read_bytes()[:4] == b"\x89PNG" for name in written)
    rows = [line.replace("│", " ").split() for line in text.splitlines()]
    assert "resnet8 on digits" in text
    by_stage = {row[0]: row for row in rows if row}
    assert by_stage["float"][1:6] == ["float32", "1", "50.00%", "50.00%", "75.00%"]
    assert by_stage["quantized"][1:6] == ["W2A2", "2", "37.50%", "62.50%", "81.25%"]
    sizes = [int(by_stage[stage][6].replace(",", "")) for stage in ("float", "quantized")]
    assert sizes[0] > 3 * sizes[1] > 0


def test_staircases_without_the_data(run, monkeypatch):
    def missing(*_):
        raise FileNotFoundError("no digits here")

    monkeypatch.setattr(module, "open_dataset", missing)
    text, written = report(run)
    assert "no histograms: no digits here" in text
    assert "figures/staircases.png" in written


def test_data_that_have_moved_reach_the_data_set(run):
    with pytest.raises(ValueError, match="data_dir: /elsewhere"):
        report(run, data_dir="/elsewhere")


def test_the_command(run, capsys):
    assert command(["report", f"--workdir={run}"]) == 0
    assert "training_curves.png" in capsys.readouterr().out
