import os
import subprocess

import pytest
import yaml

NEEDED = ["--image", "eu.pkg.dev/p/n2uq:1", "--accelerator", "tpu-v5-lite-podslice"]
NEEDED += ["--topology", "4x4", "--claim", "disk"]


def fill(run, *options, flags=("--config", "c")):
    result = run("gke_jobset.sh", "--dry-run", *NEEDED, *options, "--", *flags)
    assert (result.returncode, result.stderr) == (0, "")
    return yaml.safe_load(result.stdout)


def test_every_field(run):
    filled = fill(run)
    pods = filled["spec"]["replicatedJobs"][0]["template"]["spec"].pop("template")["spec"]
    assert filled == {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {
            "name": "n2uq",
            "annotations": {
                "alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"
            },
        },
        "spec": {
            "failurePolicy": {"maxRestarts": 100},
            "replicatedJobs": [
                {
                    "name": "slice",
                    "replicas": 1,
                    "template": {
                        "spec": {
                            "parallelism": 4,
                            "completions": 4,
                            "completionMode": "Indexed",
                            "backoffLimit": 0,
                        }
                    },
                }
            ],
        },
    }
    (container,) = pods.pop("containers")
    assert pods == {
        "restartPolicy": "Never",
        "hostNetwork": True,
        "dnsPolicy": "ClusterFirstWithHostNet",
        "terminationGracePeriodSeconds": 300,
        "nodeSelector": {
            "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
            "cloud.google.com/gke-tpu-topology": "4x4",
        },
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "disk"}}],
    }
    assert container.pop("command")[:2] == ["/bin/bash", "-c"]
    assert container == {
        "name": "train",
        "image": "eu.pkg.dev/p/n2uq:1",
        "args": ["--config", "c"],
        "ports": [{"containerPort": 8471}, {"containerPort": 8482}],
        "resources": {"limits": {"google.com/tpu": 4}},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }


def test_options(run):
    options = ["--name", "run-7", "--topology", "2x2x4", "--chips-per-host", "2"]
    options += ["--slices", "3", "--max-restarts", "5"]
    filled = fill(run, *options)
    job = filled["spec"]["replicatedJobs"][0]
    assert filled["metadata"]["name"] == "run-7"
    assert filled["spec"]["failurePolicy"] == {"maxRestarts": 5}
    assert job["replicas"] == 3
    assert job["template"]["spec"]["parallelism"] == job["template"]["spec"]["completions"] == 8
    pods = job["template"]["spec"]["template"]["spec"]
    assert pods["nodeSelector"]["cloud.google.com/gke-tpu-topology"] == "2x2x4"
    assert pods["containers"][0]["resources"] == {"limits": {"google.com/tpu": 2}}


def container(filled):
    job = filled["spec"]["replicatedJobs"][0]["template"]["spec"]
    return job["template"]["spec"]["containers"][0]


def test_flags_survive_quoting(run):
    flags = ["--config", "a b", 'say "no"', "back\\slash", "yes", "1", "$(NAME) & : # {x}", "é"]
    assert container(fill(run, flags=flags))["args"] == flags


def pod(run, tmp_path, body):
    """Starts the container's command with a stand-in for python."""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/bash\n{body}\n")
    python.chmod(0o755)
    filled = container(fill(run))
    return subprocess.Popen(
        [*filled["command"], *filled["args"]],
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_the_container_runs_main(run, tmp_path):
    process = pod(run, tmp_path, 'echo "$@"; exit 7')
    assert process.communicate(timeout=5)[0] == "-m n2uq_jax.main --distributed --config c\n"
    assert process.returncode == 7


def test_a_stopped_run_saves_and_does_not_count_as_finished(run, tmp_path):
    body = "trap 'echo saved; exit 0' TERM; echo up; while true; do sleep 0.1; done"
    process = pod(run, tmp_path, body)
    assert process.stdout.readline() == "up\n"
    process.terminate()
    assert process.communicate(timeout=5)[0] == "saved\n"
    assert process.returncode == 143


def test_kubectl_gets_the_yaml(run, tmp_path):
    kubectl = tmp_path / "kubectl"
    kubectl.write_text('#!/bin/bash\necho "$@"; cat\n')
    kubectl.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    command, _, text = run("gke_jobset.sh", *NEEDED, "--", "-x", PATH=path).stdout.partition("\n")
    assert command == "apply -f -"
    assert container(yaml.safe_load(text))["args"] == ["-x"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*NEEDED], "flags of n2uq_jax.main are missing"),
        ([*NEEDED[2:], "--", "-x"], "--image is missing"),
        ([*NEEDED, "--config", "c"], "unknown option --config"),
        ([*NEEDED, "--topology", "4by4", "--", "-x"], "--topology must look like 4x4"),
        ([*NEEDED, "--chips-per-host", "3", "--", "-x"], "has 16 chips, no multiple of 3"),
        ([*NEEDED, "--slices", "0", "--", "-x"], "SLICES must be a positive integer"),
        ([*NEEDED, "--name", "a b", "--", "-x"], "--name must be a plain word, got 'a b'"),
        ([*NEEDED, "--name", "--", "-x"], "--name lacks its value"),
        ([*NEEDED, "--", "a\nb"], "a flag holds a control character"),
    ],
)
def test_wrong_use(run, arguments, message):
    result = run("gke_jobset.sh", "--dry-run", *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stdout == ""
