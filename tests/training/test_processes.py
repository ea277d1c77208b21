"""Runs of several processes with a real coordinator, started as a user starts them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from n2uq_jax.training.metrics import read_metrics

pytestmark = pytest.mark.slow  # real processes wait for each other at every step

LAUNCHER = Path(__file__).parents[2] / "launch" / "local_cluster.sh"


def run(processes, workdir, *more):
    flags = [
        "--config=digits_w2a2",
        "--config.stages=('quantized',)",
        "--config.quantized.init=",
        "--config.quantized.teacher=",
        "--config.quantized.epochs=1.8",  # 20 steps
        "--config.model.width=4",
        "--config.model.stem_stride=2",
        "--config.log_every=1",
        "--config.figures=False",
        "--config.export=False",
        f"--workdir={workdir}",
        *more,
    ]
    environment = {**os.environ, "N2UQ_PYTHON": sys.executable}
    command = ["bash", str(LAUNCHER), str(processes), "--", *flags]
    finished = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return read_metrics(workdir / "metrics.jsonl")


def losses(lines):
    return np.array([m["loss"] for m in lines if m["kind"] == "train"])


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    return run(1, tmp_path_factory.mktemp("one") / "run", "--config.x64=True")


@pytest.mark.parametrize("processes", [2, 4])
def test_eight_devices_compute_the_same_in_any_number_of_processes(
    one_process, processes, tmp_path
):
    lines = run(processes, tmp_path / "run", "--config.x64=True")
    assert len(losses(one_process)) == 20
    np.testing.assert_allclose(losses(lines), losses(one_process), rtol=0, atol=1e-9)
    # Evaluation counts each of the 355 images once, whoever reads it.
    for name in ("loss", "top1", "top5"):
        assert lines[-1][name] == pytest.approx(one_process[-1][name], abs=1e-9)


def test_a_run_of_two_processes_goes_on_as_one(one_process, tmp_path):
    workdir = tmp_path / "run"
    settings = ["--config.x64=True", "--config.checkpoint_every=5"]
    first = run(2, workdir, *settings)
    checkpoints = workdir / "checkpoints" / "quantized"
    for step in (20, 15):
        newest = checkpoints / str(step)
        if newest.exists():
            newest.rename(tmp_path / str(step))
    left = max(int(p.name) for p in checkpoints.iterdir() if p.name.isdigit())
    assert left < 20
    again = run(1, workdir, *settings)
    np.testing.assert_allclose(losses(again), losses(first), rtol=0, atol=1e-9)


def test_parameters_spread_over_processes_train_and_come_back(one_process, tmp_path):
    lines = run(2, tmp_path / "run", "--config.x64=True", "--config.mesh.fsdp=4")
    np.testing.assert_allclose(losses(lines), losses(one_process), rtol=0, atol=1e-9)
