import re
import subprocess
import sys
from collections import Counter

import jax
import numpy as np
import pytest

from n2uq_jax.export import build_program
from n2uq_jax.export.artifact.tensors import flatten, pack_tensors, serialise_tensors
from n2uq_jax.export.formats.stablehlo import PLATFORMS, to_stablehlo
from tests.export.integer_network import SHAPE, network, parameters
from tests.export.networks import images

# What the README shows, in an interpreter that refuses to import anything else.
SCRIPT = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("flax", "n2uq_jax", "tensorflow", "onnx", "absl"):
            raise ImportError(f"{name} is not part of this environment")

sys.meta_path.insert(0, Refuse())

import jax, json, numpy as np
import jax.export
from safetensors.numpy import load_file

model = jax.export.deserialize(bytearray(open("model.stablehlo", "rb").read()))
weights = load_file("weights.safetensors")
images = np.load("images.npy")
for n in (1, 7, 64):
    logits, codes = model.call(weights, images[:n])
    np.savez(f"{n}.npz", logits=logits, **{k.replace("/", "."): v for k, v in codes.items()})
"""


@pytest.fixture(scope="module")
def serialised(program):
    return to_stablehlo(program, codes=True)


def test_runs_alone_at_any_batch_size(program, serialised, tmp_path):
    packed, _ = pack_tensors(flatten(program))
    (tmp_path / "model.stablehlo").write_bytes(serialised)
    (tmp_path / "weights.safetensors").write_bytes(serialise_tensors(packed))
    x = images(64)
    np.save(tmp_path / "images.npy", x)
    subprocess.run([sys.executable, "-c", SCRIPT], cwd=tmp_path, check=True)
    logits, codes = program.codes(x)
    for n in (1, 7, 64):
        got = np.load(tmp_path / f"{n}.npz")
        np.testing.assert_allclose(got["logits"], logits[:n], rtol=1e-5, atol=1e-5)
        assert len(got.files) == 1 + len(codes)
        for name, expected in codes.items():
            np.testing.assert_array_equal(got[name.replace("/", ".")], expected[:n], strict=True)


def test_is_lowered_for_every_platform_with_packed_weights(program, serialised):
    exported = jax.export.deserialize(bytearray(serialised))
    assert exported.platforms == PLATFORMS == ("cpu", "cuda", "tpu")
    packed, packings = pack_tensors(flatten(program))
    arguments = jax.tree.unflatten(exported.in_tree, exported.in_avals)[0]
    weights, inputs = arguments
    assert {k: (v.shape, v.dtype) for k, v in weights.items()} == {
        k: (v.shape, v.dtype) for k, v in packed.items()
    }
    assert len(packings) == 8
    assert all(len(packed[name]) == np.prod(p.shape) / 4 for name, p in packings.items())
    assert str(inputs.shape[0]) == "batch"
    assert inputs.shape[1:] == (8, 8, 1)


def test_holds_integer_convolutions_alone_between_stem_and_head(serialised):
    text = jax.export.deserialize(bytearray(serialised)).mlir_module()
    convolutions = [line for line in text.splitlines() if "stablehlo.convolution" in line]
    sums = Counter(line.split("->")[-1].split(">")[0][-3:] for line in convolutions)
    assert sums == {"f32": len(PLATFORMS), "i32": 8 * len(PLATFORMS)}


def test_integer_network_has_no_float_but_the_last_scale():
    program = build_program((network, parameters()), SHAPE, image_dtype=np.uint8)
    text = jax.export.deserialize(bytearray(to_stablehlo(program))).mlir_module()
    floats = Counter(
        found.group()
        for line in text.splitlines()
        if "f32" in line and (found := re.search(r"stablehlo\.\w+", line))
    )
    moves = {"constant", "convert", "dynamic_broadcast_in_dim", "optimization_barrier", "return"}
    assert set(floats) <= {f"stablehlo.{name}" for name in (*moves, "multiply")}
    assert floats["stablehlo.multiply"] == 1
    assert "f64" not in text
