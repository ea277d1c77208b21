"""The authors' networks as arrays: shapes, seeded parameters, inputs and expected outputs.

Computed in float64 with the authors' PyTorch code; the files lie in ``tests/data``.
"""

import json
import zlib
from pathlib import Path

import numpy as np

DATA = Path(__file__).parent / "data"
CONSTANTS = {"two": 2, "one": 1, "zero": 0, "minusone": -1, "eps": np.float32(1e-3), "clip_val": 2}


def state_dict(table, bits, seed=0, *, negative_slopes=False, dtype=np.float64):
    """Returns a state dict with the names and shapes of a table and seeded values.

    Args:
      table: "resnet18", "resnet18_fp_downsample", "resnet50" or "mobilenet_v2".
    """
    shapes = json.loads((DATA / "state_dict_shapes.json").read_text())[table]
    state = {}
    for name, shape in shapes.items():
        shape = [2**bits - 1] if name.endswith(".a") else shape
        state[name] = _value(name, shape, bits, seed, -0.3 if negative_slopes else 0.05, dtype)
    return state


def _value(name, shape, bits, seed, lowest_slope, dtype):
    r = rng(seed, name)
    leaf = name.rpartition(".")[2]
    if leaf in CONSTANTS:
        return np.full(shape, CONSTANTS[leaf], np.float32)
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if leaf == "running_var":
        value = r.uniform(0.5, 1.5, shape)
    elif leaf == "running_mean" or leaf == "bias":
        value = r.normal(0, 0.1, shape)
    elif leaf == "start":
        value = r.normal(0, 0.05, shape)
    elif leaf == "a":
        value = 2 / (2**bits - 1) * r.uniform(0.5, 1.5, shape)
    elif leaf in ("scale1", "scale2"):
        value = r.uniform(0.8, 1.2, shape)
    elif "prelu" in name:
        value = r.uniform(lowest_slope, 0.5, shape)
    elif len(shape) == 1:
        value = r.uniform(0.5, 1.5, shape)
    else:
        value = r.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
    return value.astype(dtype)


def rng(seed, name):
    """Returns the generator of one array."""
    return np.random.default_rng(zlib.crc32(f"{seed}:{name}".encode()))
