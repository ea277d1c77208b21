import ast
import json
import statistics
import subprocess
import sys
import types
from pathlib import Path

import pytest

import n2uq_jax as n2uq

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


def test_lazy_names_are_what_type_checkers_see():
    tree = ast.parse(Path(n2uq.__file__).read_text())
    (typed,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname: node.module
        for node in typed.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == n2uq._LAZY
    assert all(name in dir(n2uq) for name in seen)


def test_packages_are_attributes_before_they_are_imported():
    names = ["conversion", "data", "export", "interop", "report", "training", "workdir"]
    code = f"""
import json, sys, n2uq_jax as n2uq
found = {{}}
for name in {names}:
    early = f"n2uq_jax.{{name}}" in sys.modules
    found[name] = [getattr(n2uq, name).__name__, early]
print(json.dumps(found))
"""
    found = run(code)
    assert [found[name][0] for name in names] == [f"n2uq_jax.{name}" for name in names]
    assert not found["conversion"][1]


def test_names_come_from_where_they_are_defined():
    from n2uq_jax import conversion, export

    assert n2uq.quantize is conversion.quantize
    assert n2uq.export_model is export.export_model
    assert n2uq.load_artifact is export.load_artifact
    assert callable(n2uq.cost)
    assert not isinstance(n2uq.cost, types.ModuleType)
    assert callable(n2uq.load)


def test_dir_has_nothing_but_the_library():
    public = {name for name in dir(n2uq) if not name.startswith("_")}
    assert {"models", "nn", "quantizers", "selftest", "load", "optimizer_labels"} < public
    for name in public:
        value = getattr(n2uq, name)
        home = value.__name__ if isinstance(value, types.ModuleType) else value.__module__
        assert home.startswith("n2uq_jax"), name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'n2uq_jax' has no attribute 'quantise'"):
        _ = n2uq.quantise
