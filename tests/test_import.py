import json
import statistics
import subprocess
import sys

HEAVY = (
    "cv2",
    "grain",
    "huggingface_hub",
    "matplotlib",
    "ml_collections",
    "onnx",
    "optax",
    "sklearn",
    "tensorboardX",
    "tensorflow",
    "tensorflow_datasets",
    "torch",
)


def run(code):
    """Runs code in a fresh interpreter and returns what it prints, read as JSON."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_import_is_light():
    loaded = run("import json, sys, n2uq_jax; print(json.dumps(sorted(sys.modules)))")
    assert "n2uq_jax.nn.conv" in loaded
    # What flax itself brings along is not ours.
    ours = set(loaded) - set(run("import json, sys, flax.nnx; print(json.dumps([*sys.modules]))"))
    assert not {name for name in ours if name.split(".")[0] in HEAVY}
    for part in ("data", "training", "export", "interop", "report"):
        assert f"n2uq_jax.{part}" not in loaded


def test_import_is_fast():
    def seconds(module):
        # User time of the process, which the machine's load hardly changes.
        return run(f"import resource as r, {module}; print(r.getrusage(r.RUSAGE_SELF).ru_utime)")

    pairs = [(seconds("n2uq_jax"), seconds("flax.nnx")) for _ in range(3)]
    ours, flax = (statistics.median(times) for times in zip(*pairs, strict=True))
    assert ours < 1.3 * flax
