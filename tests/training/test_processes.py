"""Runs of several processes with a real coordinator, started as a user starts them."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from n2uq_jax.workdir.checkpoints import saved_steps
from n2uq_jax.workdir.metrics import read_metrics

pytestmark = pytest.mark.slow  # real processes wait for each other at every step

LAUNCHER = Path(__file__).parents[2] / "launch" / "local_cluster.sh"


def flags(workdir, *more, stages=("quantized",)):
    return [
        "--config=digits_w2a2",
        f"--config.stages={stages}",
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


def run(processes, workdir, *more, **kwargs):
    environment = {**os.environ, "N2UQ_PYTHON": sys.executable}
    command = ["bash", str(LAUNCHER), str(processes), "--", *flags(workdir, *more, **kwargs)]
    finished = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return read_metrics(workdir / "metrics.jsonl")


def losses(lines):
    return np.array([m["loss"] for m in lines if m["kind"] == "train"])


def assert_the_same(lines, expected):
    np.testing.assert_allclose(losses(lines), losses(expected), rtol=0, atol=1e-9)
    # Evaluation counts each of the 355 images once, whoever reads it.
    for name in ("loss", "top1", "top5"):
        assert lines[-1][name] == pytest.approx(expected[-1][name], abs=1e-9)


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    return run(1, tmp_path_factory.mktemp("one") / "run", "--config.x64=True")


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """The workdir and the metrics of a run with checkpoints on its way."""
    workdir = tmp_path_factory.mktemp("two") / "run"
    return workdir, run(2, workdir, "--config.x64=True", "--config.checkpoint_every=5")


def test_eight_devices_compute_the_same_in_one_and_two_processes(one_process, two_processes):
    assert len(losses(one_process)) == 20
    assert_the_same(two_processes[1], one_process)


def test_float32_runs_see_the_same_images_and_take_the_same_first_step(tmp_path):
    # The parameters stand still for twenty steps, before one step of the 2-bit network.
    def steps(processes):
        lines = run(
            processes,
            tmp_path / str(processes),
            "--config.float.epochs=1.8",
            "--config.float.learning_rate=0.0",
            "--config.quantized.epochs=0.1",
            stages=("float", "quantized"),
        )
        return tuple(
            losses([m for m in lines if m["stage"] == stage]) for stage in ("float", "quantized")
        )

    (expected, expected_first), (still, first) = steps(1), steps(2)
    assert len(expected) == 20
    assert len(expected_first) == 1
    # With parameters that stand still, a loss tells which images were in the batch.
    assert np.diff(np.sort(expected)).min() > 1e-4
    np.testing.assert_allclose(still, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(first, expected_first, rtol=0, atol=1e-5)


def test_a_run_of_two_processes_goes_on_as_one(two_processes, tmp_path):
    workdir = shutil.copytree(two_processes[0], tmp_path / "run")
    checkpoints = workdir / "checkpoints" / "quantized"
    assert {"15", "20"} <= {p.name for p in checkpoints.iterdir()}
    shutil.rmtree(checkpoints / "20")
    again = run(1, workdir, "--config.x64=True", "--config.checkpoint_every=5")
    np.testing.assert_allclose(losses(again), losses(two_processes[1]), rtol=0, atol=1e-9)


# Four processes share the parameters by two; of two processes each stands for a slice.
@pytest.mark.parametrize(("processes", "slices"), [(4, 1), (2, 2)])
def test_parameters_spread_over_devices_of_several_processes(
    one_process, processes, slices, tmp_path
):
    mesh = ["--config.mesh.fsdp=4", f"--config.mesh.slices={slices}"]
    assert_the_same(run(processes, tmp_path / "run", "--config.x64=True", *mesh), one_process)


def test_a_second_stage_starts_from_the_first_and_learns_from_it(tmp_path):
    settings = ["--config.x64=True", "--config.float.epochs=0.5", "--config.quantized.epochs=0.5"]
    settings += ["--config.quantized.init=float", "--config.quantized.teacher=float"]
    one, two = (
        losses(run(n, tmp_path / str(n), *settings, stages=("float", "quantized"))) for n in (1, 2)
    )
    assert len(one) == 12
    np.testing.assert_allclose(two, one, rtol=0, atol=1e-9)


def launch(workdir, *more, options=()):
    """Starts the quickstart in two processes as the README has it, only shorter."""
    environment = {**os.environ, "N2UQ_PYTHON": sys.executable}
    environment.pop("JAX_DISABLE_MOST_OPTIMIZATIONS", None)  # as a user has it
    return subprocess.Popen(
        [
            *("bash", str(LAUNCHER), "2", *options, "--", "--config", "configs/digits_w2a2.py"),
            *("--workdir", str(workdir), "--config.model.width=4"),
            *("--config.model.stem_stride=2", "--config.float.epochs=0.5"),
            *("--config.integer.epochs=0.5", *more),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=LAUNCHER.parents[1],
        env=environment,
    )


def test_the_quickstart_ends_with_its_artifact(tmp_path):
    process = launch(tmp_path / "run", "--config.quantized.epochs=0.5")
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output
    assert output.count("EQUAL to the network") == 1
    artifact = tmp_path / "run" / "artifact"
    assert {"manifest.json", "report.json", "weights.safetensors"} <= {
        p.name for p in artifact.iterdir()
    }
    assert (tmp_path / "run" / "figures" / "training_curves.png").is_file()


def test_sigterm_in_the_second_stage_stops_both_at_one_step(tmp_path):
    workdir = tmp_path / "run"
    settings = ["--config.quantized.epochs=1000", "--config.log_every=1", "--config.export=False"]
    process = launch(workdir, *settings, options=("--devices-per-process", "1"))
    try:
        metrics = workdir / "metrics.jsonl"
        while not metrics.exists() or metrics.read_text().count('"quantized", "kind"') < 9:
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.1)
        process.terminate()
        output, _ = process.communicate(timeout=600)
    finally:
        process.kill()
    assert process.returncode == 0, output
    (said,) = re.findall(r"after saving stage quantized, step (\d+)", output)
    assert int(said) in saved_steps(workdir / "checkpoints" / "quantized")
    assert read_metrics(metrics)[-1]["step"] == int(said) >= 9


@pytest.mark.parametrize("victim", [0, 1])
def test_a_survivor_of_a_dead_peer_ends_itself(victim, tmp_path):
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    workdir, timeout = tmp_path / "run", 10
    command = [
        *(sys.executable, "-m", "n2uq_jax.main", "--distributed", "--cpu_devices=2"),
        *(f"--coordinator_address=localhost:{port}", "--num_processes=2"),
        f"--heartbeat_timeout={timeout}",
        *flags(workdir, "--config.quantized.epochs=1000"),
    ]
    processes = [
        subprocess.Popen(
            [*command, f"--process_id={i}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    try:
        metrics = workdir / "metrics.jsonl"
        while not metrics.exists() or not metrics.read_bytes():
            assert all(process.poll() is None for process in processes)
            time.sleep(0.1)
        processes[victim].kill()
        _, messages = processes[1 - victim].communicate(timeout=timeout + 20)
        assert processes[1 - victim].returncode != 0, messages
    finally:
        for process in processes:
            process.kill()
            process.communicate()
