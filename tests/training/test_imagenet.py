"""The recipe for ImageNet from tars to a trained network, every part of it real but small.

ILSVRC tars, TFDS's own builder, ArrayRecord, a worker process that decodes, torchvision's files of
weights, ResNet-18 with 2 bits and ResNet-101 as its teacher, parameters spread over two devices.
"""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from flax import nnx

import n2uq_jax as n2uq
from n2uq_jax.paths import by_path
from n2uq_jax.workdir.metrics import read_metrics

torch = pytest.importorskip("torch", reason="the extra torch is not installed")
torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed")

pytestmark = pytest.mark.slow  # whole runs of ResNet-18 with a ResNet-101 as its teacher


@pytest.fixture(scope="module")
def start(imagenet_dir, tmp_path_factory):
    """Starts the run in a workdir."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    student = torchvision.models.resnet18().state_dict()
    from safetensors.torch import save_file

    save_file(student, folder / "resnet18.safetensors")
    teacher = torchvision.models.resnet101()
    torch.nn.init.normal_(teacher.fc.weight, std=1e-4)  # or its softmax names one class for all
    torch.save(teacher.state_dict(), folder / "resnet101.pth")
    flags = [
        "--config=resnet18_w2a2",
        "--cpu_devices=2",
        "--config.mesh.fsdp=2",
        f"--config.data.dir={imagenet_dir}",
        "--config.data.image_size=64",
        "--config.data.num_workers=1",
        "--config.batch_size=8",
        "--config.eval_batch_size=8",
        "--config.stages=('quantized',)",
        f"--config.quantized.init={folder / 'resnet18.safetensors'}",
        f"--config.quantized.teacher_weights={folder / 'resnet101.pth'}",
        "--config.quantized.epochs=6.67",  # 20 steps
        "--config.quantized.label_weight=0.1",
        "--config.quantized.label_smoothing=0.1",
        "--config.log_every=1",
        "--config.checkpoint_every=5",
        "--config.eval_every=100",
        "--config.figures=False",
    ]
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
    }

    def start(workdir):
        return subprocess.Popen(
            [sys.executable, "-m", "n2uq_jax.main", *flags, f"--workdir={workdir}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )

    return start


@pytest.fixture(scope="module")
def undisturbed(start, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "undisturbed"
    output, _ = (process := start(workdir)).communicate(timeout=900)
    assert process.returncode == 0, output
    return workdir, output


def parameters(workdir):
    return {name: np.asarray(v) for name, v in by_path(nnx.state(n2uq.load(workdir))).items()}


def test_twenty_steps_and_an_evaluation(undisturbed):
    workdir, output = undisturbed
    assert "quantized (W2A2)" in output
    (name,) = set(re.findall(r"skipped a corrupt record: \S+ \((\S+)\)", output))
    assert name == "n02391049_9004.JPEG"
    lines = read_metrics(workdir / "metrics.jsonl")
    train = [m for m in lines if m["kind"] == "train"]
    assert [m["step"] for m in train] == list(range(1, 21))
    assert all(np.isfinite([m["loss"], m["grad_norm"]]).all() for m in train)
    assert np.mean([m["loss"] for m in train[-5:]]) < 0.9 * train[0]["loss"]
    assert train[0]["learning_rate"] == pytest.approx(2.5e-3 * (1 - 1 / 7))
    assert train[0]["quantizer_learning_rate"] == pytest.approx(train[0]["learning_rate"] / 10)
    assert sum(m["changed_code_share"] for m in train[1:]) > 0
    assert [m["step"] for m in lines if m["kind"] == "eval"] == [20]


def test_the_network_started_from_torchvisions_weights(undisturbed):
    trained = n2uq.load(undisturbed[0])
    assert len(n2uq.nn.quantizers(trained)) == 19
    twin = n2uq.models.create("torchvision/resnet18", rngs=nnx.Rngs(0))
    torch.manual_seed(0)
    n2uq.interop.load_torchvision_state_dict(
        twin, {k: v.numpy() for k, v in torchvision.models.resnet18().state_dict().items()}
    )
    start, end = twin.stem.conv.kernel[...], trained.conv.kernel[...]
    assert 0 < np.abs(np.asarray(end - start)).max() < 20 * 2.5e-3


def test_evaluation_reads_each_of_the_ten_images_once(undisturbed):
    command = [sys.executable, "-m", "n2uq_jax.evaluate", f"--workdir={undisturbed[0]}"]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    metrics, last = json.loads(output.stdout), read_metrics(undisturbed[0] / "metrics.jsonl")[-1]
    assert metrics["images"] == 10
    for name in ("loss", "top1", "top5"):
        assert metrics[name] == pytest.approx(last[name], abs=1e-4)


def test_a_run_goes_on_from_an_earlier_checkpoint_to_the_same_parameters(
    start, undisturbed, tmp_path
):
    workdir = shutil.copytree(undisturbed[0], tmp_path / "run")
    checkpoints = workdir / "checkpoints" / "quantized"
    assert sorted(int(p.name) for p in checkpoints.iterdir()) == [15, 20]
    shutil.rmtree(checkpoints / "20")
    output, _ = (process := start(workdir)).communicate(timeout=900)
    assert process.returncode == 0, output
    assert "stage quantized goes on after step 15" in output
    expected, got = parameters(undisturbed[0]), parameters(workdir)
    assert expected.keys() == got.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)
    before, after = (
        [(m["step"], m["loss"]) for m in read_metrics(d / "metrics.jsonl")]
        for d in (undisturbed[0], workdir)
    )
    assert before == after
