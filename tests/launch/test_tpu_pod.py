import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

TPU = "gcloud compute tpus tpu-vm"


@pytest.fixture
def copied_script(launch, tmp_path):
    """The script in a folder that is in no git checkout yet."""
    folder = tmp_path / "project" / "launch"
    folder.mkdir(parents=True)
    return Path(shutil.copy(launch / "tpu_pod.sh", folder))


def commands(run, *arguments, script="tpu_pod.sh"):
    result = run(script, "--dry-run", *arguments)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.splitlines()


@pytest.mark.parametrize(
    ("kind", "version"),
    [
        ("v4-32", "tpu-ubuntu2204-base"),
        ("v5litepod-16", "v2-alpha-tpuv5-lite"),
        ("v5p-8", "v2-alpha-tpuv5"),
        ("v6e-8", "v2-alpha-tpuv6e"),
    ],
)
def test_create(run, kind, version):
    assert commands(run, "create", "pod", "--zone", "z", "--type", kind, "--spot") == [
        f"{TPU} create pod --zone=z --accelerator-type={kind} --version={version} --spot"
    ]


def test_create_with_everything_said(run):
    arguments = ["--type", "v9-4", "--version", "x", "--project", "p", "--zone", "z"]
    assert commands(run, "create", "pod", *arguments, "--network=n") == [
        f"{TPU} create pod --project=p --zone=z --accelerator-type=v9-4 --version=x --network=n"
    ]


def test_install(run, copied_script):
    checkout = copied_script.parents[1]
    subprocess.run(["git", "init", "--quiet", checkout], check=True)
    archive, copy, install = commands(run, "install", "pod", "--zone", "z", script=copied_script)
    assert archive == f"git -C {checkout} archive --output=n2uq_jax.tar.gz HEAD"
    assert copy == f"{TPU} scp n2uq_jax.tar.gz pod:n2uq_jax.tar.gz --zone=z --worker=all"
    assert install.startswith(f"{TPU} ssh pod --zone=z --worker=all --command=")
    steps = re.sub(r"\\(.)", r"\1", install.split("--command=")[1]).split(" && ")
    assert steps == [
        "mkdir -p n2uq_jax",
        "tar -xzf n2uq_jax.tar.gz -C n2uq_jax",
        "curl -LsSf https://astral.sh/uv/install.sh | sh",
        ".local/bin/uv venv --clear --python 3.12 venv",
        '.local/bin/uv pip install --python venv "jax[tpu]" "./n2uq_jax[train]"',
    ]


def test_install_without_a_checkout(run, copied_script, tmp_path):
    result = run(
        copied_script, "install", "pod", "--zone", "z", GIT_CEILING_DIRECTORIES=str(tmp_path)
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        "tpu_pod.sh: install copies a git checkout; git finds none here: "
        f"git -C {copied_script.parent} status\n"
    )


def test_delete(run):
    assert commands(run, "delete", "pod", "--zone", "z") == [f"{TPU} delete pod --zone=z"]


def test_flags_reach_main_unharmed(run, tmp_path):
    gcloud = tmp_path / "gcloud"
    gcloud.write_text('#!/bin/bash\nprintf "%s\\n" "$@" > "$OUT"\n')
    gcloud.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "OUT": str(tmp_path / "arguments")}
    result = run(
        "tpu_pod.sh", "run", "pod", "--zone", "z", "--", "--config", "it's $1", **environment
    )
    assert result.returncode == 0
    assert (tmp_path / "arguments").read_text().splitlines() == [
        *["compute", "tpus", "tpu-vm", "ssh", "pod", "--zone=z", "--worker=all"],
        "--command=cd n2uq_jax && ../venv/bin/python -m n2uq_jax.main --distributed"
        r" --config it\'s\ \$1",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "usage: tpu_pod.sh"),
        (["stop", "pod"], "usage: tpu_pod.sh"),
        (["create", "--zone", "z"], "NAME is missing"),
        (["delete", "pod"], "--zone is missing"),
        (["delete", "pod", "--zone"], "--zone lacks its value"),
        (["delete", "pod", "--zone", "z", "--force"], "unknown option --force"),
        (["create", "pod", "--zone", "z"], "--type is missing"),
        (
            ["create", "pod", "--zone", "z", "--type", "v9-4"],
            "--version is needed for the type v9-4",
        ),
        (["run", "pod", "--zone", "z"], "flags of n2uq_jax.main are missing"),
    ],
)
def test_wrong_use(run, arguments, message):
    result = run("tpu_pod.sh", *arguments, PATH="/usr/bin:/bin")
    assert result.returncode == 2
    assert message in result.stderr
