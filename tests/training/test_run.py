"""Whole runs of `python -m n2uq_jax.main`, and what kills and signals do to them."""

import json
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from flax import nnx

import n2uq_jax as n2uq
from n2uq_jax.paths import by_path
from n2uq_jax.workdir.metrics import read_metrics

SETTINGS = [
    "--config=digits_w2a2",
    "--config.model.width=4",
    "--config.model.stem_stride=2",
    "--config.float.epochs=2",
    "--config.quantized.epochs=2",
    "--config.checkpoint_every=4",
    "--config.log_every=1",
    "--config.eval_every=1",
    "--config.figures=False",
    "--config.export=False",
    "--config.profile_steps=(21, 99)",
]


def start(workdir, *more, stages=("float", "quantized"), **options):
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        # Most of a short run is compilation, which every run of this file repeats.
        "JAX_COMPILATION_CACHE_DIR": str(workdir.parent.parent / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3",
    }
    flags = [*SETTINGS, f"--config.stages={stages}", f"--workdir={workdir}", *more]
    return subprocess.Popen(
        # Jobs in the background are deaf to Ctrl-C, and so is what they start.
        ["env", "--default-signal=INT", sys.executable, "-m", "n2uq_jax.main", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        **options,
    )


def finish(process):
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def wait_for_lines(workdir, count, process):
    """Waits until a run has written so many measurements."""
    path = workdir / "metrics.jsonl"
    while len(path.read_bytes().splitlines() if path.exists() else []) < count:
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.01)


def parameters(workdir):
    return {name: np.asarray(v) for name, v in by_path(nnx.state(n2uq.load(workdir))).items()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "undisturbed"
    code, output = finish(start(workdir))
    assert code == 0, output
    return workdir, output


@pytest.mark.slow
def test_a_run_leaves_what_it_promises(undisturbed):
    workdir, output = undisturbed
    for word in ("float (float32)", "quantized (W2A2)", "bytes"):
        assert word in output
    contents = json.loads((workdir / "config.json").read_text())
    assert contents["config"]["model"]["width"] == 4
    assert contents["dataset"]["num_classes"] == 10
    lines = read_metrics(workdir / "metrics.jsonl")
    steps = [m["step"] for m in lines if m["stage"] == "quantized" and m["kind"] == "train"]
    assert steps == list(range(1, 23))
    needed = {"loss", "top1", "top5", "images_per_second", "data_wait_share", "step_seconds"}
    needed |= {"learning_rate", "quantizer_learning_rate", "min_interval", "saturated_share"}
    assert needed <= lines[-3].keys()
    assert "changed_code_share" in lines[-3]
    evaluations = [m for m in lines if m["kind"] == "eval"]
    assert [m["stage"] for m in evaluations] == ["float", "float", "quantized", "quantized"]
    assert list((workdir / "tensorboard").glob("events.out.tfevents.*"))
    assert list((workdir / "tensorboard").glob("plugins/profile/*/*.xplane.pb"))


@pytest.mark.slow
def test_load_gives_the_trained_network_back(undisturbed):
    workdir, _ = undisturbed
    model = n2uq.load(workdir)
    assert len(n2uq.nn.quantizers(model)) == 8
    assert n2uq.nn.quantizers(n2uq.load(workdir, stage="float")) == {}
    twin = n2uq.load(workdir, best=True)
    images = jax.numpy.ones((2, 8, 8, 1))
    assert twin(images).shape == model(images).shape == (2, 10)
    with pytest.raises(ValueError, match="stage must be one of float, quantized, got 'x'"):
        n2uq.load(workdir, stage="x")
    with pytest.raises(FileNotFoundError, match="workdir must be a folder"):
        n2uq.load(workdir / "nothing")


@pytest.mark.slow
def test_evaluation_repeats_the_last_line(undisturbed):
    workdir, _ = undisturbed
    command = [sys.executable, "-m", "n2uq_jax.evaluate", f"--workdir={workdir}"]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    metrics = json.loads(output.stdout)
    last = read_metrics(workdir / "metrics.jsonl")[-1]
    assert metrics["images"] == 355
    for name in ("loss", "top1", "top5"):
        assert metrics[name] == pytest.approx(last[name], abs=1e-6)


@pytest.mark.slow  # a process for each
def test_kills_change_nothing(undisturbed, tmp_path):
    workdir = tmp_path / "killed"
    # In the first stage, at its end, and in the second one.
    for lines in (3, 24, 40):
        process = start(workdir)
        wait_for_lines(workdir, lines, process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    code, output = finish(start(workdir))
    assert code == 0, output
    expected, got = parameters(undisturbed[0]), parameters(workdir)
    assert expected.keys() == got.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)
    keys = [
        [(m["stage"], m["kind"], m["step"], m["loss"]) for m in read_metrics(d / "metrics.jsonl")]
        for d in (undisturbed[0], workdir)
    ]
    assert keys[0] == keys[1]


@pytest.mark.slow  # a process for each
def test_sigterm_saves_and_ends_politely(tmp_path):
    workdir = tmp_path / "stopped"
    process = start(workdir)
    wait_for_lines(workdir, 5, process)
    process.terminate()
    code, output = finish(process)
    assert code == 0, output
    assert "Stopped by SIGTERM after saving stage float" in output
    newest = max(int(p.name) for p in (workdir / "checkpoints" / "float").iterdir())
    assert newest >= 5


@pytest.mark.slow  # a process for each
@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path, workers):
    workdir = tmp_path / "stopped"
    # As a terminal does it: to the run and to its decoding processes.
    process = start(workdir, f"--config.data.num_workers={workers}", start_new_session=True)
    wait_for_lines(workdir, 5, process)
    os.killpg(process.pid, signal.SIGINT)
    code, output = finish(process)
    assert code == 130, output
    assert "Traceback" not in output
    *_, last = output.splitlines()
    assert last.startswith("Stopped by Ctrl-C after saving stage float, step ")
    assert f"To go on: n2uq train {SETTINGS[0]}" in last
    assert not (workdir / ".lock").exists()


@pytest.mark.slow  # a process for each
def test_a_second_run_in_the_same_workdir_is_refused_and_the_first_goes_on(tmp_path):
    workdir = tmp_path / "shared"
    first = start(workdir)
    wait_for_lines(workdir, 1, first)
    code, output = finish(start(workdir))
    assert (code, len(output.splitlines())) == (2, 1)
    assert f"is in use by process {first.pid} on host" in output
    code, output = finish(first)
    assert code == 0, output


def test_a_run_of_one_step(tmp_path):
    workdir = tmp_path / "run"
    code, output = finish(start(workdir, "--config.float.epochs=0.1", stages=("float",)))
    assert code == 0, output
    kinds = [(m["kind"], m["step"]) for m in read_metrics(workdir / "metrics.jsonl")]
    assert kinds == [("train", 1), ("eval", 1)]


@pytest.mark.slow  # a process for each
def test_the_configuration_of_a_run_may_not_change(undisturbed):
    workdir, _ = undisturbed
    before = (workdir / "config.json").read_text()
    code, output = finish(start(workdir, "--config.seed=1"))
    assert code == 2
    assert "config.seed was 0 and is now 1" in output
    assert (workdir / "config.json").read_text() == before


@pytest.mark.slow  # a process for each
def test_a_loss_that_is_not_finite_names_the_step(tmp_path):
    more = ["--config.float.learning_rate=1e30", "--config.float.schedule=constant"]
    code, output = finish(start(tmp_path / "diverged", *more))
    assert code == 2
    assert "the loss of stage 'float' is nan at step" in output


@pytest.mark.slow  # a run
def test_a_method_that_starts_from_data(tmp_path):
    workdir = tmp_path / "run" / "lsq"
    code, output = finish(
        start(workdir, "--config.model.method=lsq", "--config.quantized.epochs=1")
    )
    assert code == 0, output
    model = n2uq.load(workdir)
    layer = model.stages[0][0].units[0].conv
    assert layer.method == "lsq"
    kernel = n2uq.load(workdir, stage="float").stages[0][0].units[0].conv.kernel[...]
    started = 2 * np.abs(np.asarray(kernel)).mean()
    assert abs(float(layer.weight_quantizer.step[...]) / started - 1) < 0.5
    assert float(layer.input_quantizer.step[...]) != pytest.approx(2 / 3, abs=1e-3)
