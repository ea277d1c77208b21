import ast
import json
import subprocess
import sys
import types
import zipfile
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


IMPORTS = """
import json, resource, sys

def seconds():
    # User time of the process, which the machine's load hardly changes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime

import flax.nnx
flax, flax_seconds = set(sys.modules), seconds()
import n2uq_jax as n2uq
ours, our_seconds = set(sys.modules) - flax, seconds() - flax_seconds
packages = {}
for name in ("conversion", "data", "export", "interop", "report", "training", "workdir"):
    packages[name] = getattr(n2uq, name).__name__
print(json.dumps([sorted(ours), our_seconds / flax_seconds, packages]))
"""


def imports():
    """Imports flax.nnx and then us in a fresh interpreter.

    Returns:
      The modules that we add, the time that we add relative to flax, and the lazy packages' names.
    """
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def imported():
    return imports()


def test_import_is_light(imported):
    ours = imported[0]
    assert "n2uq_jax.nn.conv" in ours
    assert not {name for name in ours if name.split(".")[0] in HEAVY}
    for part in ("data", "training", "export", "interop", "report", "workdir", "cli"):
        assert f"n2uq_jax.{part}" not in ours


def test_import_is_fast(imported):
    assert imported[1] < 0.3 or min(imports()[1] for _ in range(3)) < 0.3


def test_packages_are_attributes_before_they_are_imported(imported):
    assert imported[2] == {name: f"n2uq_jax.{name}" for name in imported[2]}
    assert "training" in imported[2]


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


@pytest.mark.extra
def test_a_wheel_holds_every_file_of_the_package(tmp_path):
    pytest.importorskip("hatchling")
    root = Path(n2uq.__file__).parent.parent
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    files = [p for p in (root / "n2uq_jax").rglob("*") if p.is_file() and p.suffix != ".pyc"]
    missing = {str(p.relative_to(root)) for p in files} - names
    assert missing == set()
    kernels = "n2uq_jax/export/formats/c/kernels"
    assert {f"{kernels}/{name}" for name in ("run.c", "network.h", "model.c.in")} <= names
