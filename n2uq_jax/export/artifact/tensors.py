"""``weights.safetensors``: a program's tensors, with codes packed at their bit width."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from n2uq_jax.export.artifact.packing import Packing, pack, unpack
from n2uq_jax.export.program.execution import Tensors
from n2uq_jax.export.program.program import IntegerProgram
from n2uq_jax.export.thresholds.thresholds import Thresholds

Packed = dict[str, np.ndarray]
"""Tensors by name, weight codes as packed bytes."""


_ARRAYS = ("points", "steps", "base")


def flatten(program: IntegerProgram) -> dict[str, np.ndarray]:
    """Returns a program's tensors and thresholds by name: ``QUANTIZER/points`` and so on."""
    thresholds = {
        f"{name}/{key}": np.asarray(getattr(held, key))
        for name, held in program.thresholds.items()
        for key in _ARRAYS
    }
    return {**program.tensors, **thresholds}


def unflatten(
    tensors: Tensors, max_codes: Mapping[str, int]
) -> tuple[Tensors, dict[str, Thresholds]]:
    """Undoes :func:`flatten`; a pure function of arrays.

    Args:
      tensors: what it returned.
      max_codes: of every folded quantizer.

    Returns:
      The tensors, and the thresholds.
    """
    rest = dict(tensors)
    thresholds = {
        name: Thresholds(**{key: rest.pop(f"{name}/{key}") for key in _ARRAYS}, max_code=n)
        for name, n in max_codes.items()
    }
    return rest, thresholds


def pack_tensors(tensors: Mapping[str, np.ndarray]) -> tuple[Packed, dict[str, Packing]]:
    """Packs the weight codes among a program's tensors.

    Args:
      tensors: by name; weight codes are called ``LAYER/weight``.

    Returns:
      All tensors, and the packing of those that are packed.
    """
    packed, packings = dict(tensors), {}
    for name, array in tensors.items():
        if is_codes(name, array):
            packed[name], packings[name] = pack(array)
    return packed, packings


def unpack_tensors(packed: Tensors, packings: Mapping[str, Packing]) -> dict[str, Any]:
    """Undoes :func:`pack_tensors`; a pure function of arrays."""
    return {
        name: unpack(array, packings[name]) if name in packings else array
        for name, array in packed.items()
    }


def is_codes(name: str, array: Any) -> bool:
    """Whether a tensor holds weight codes."""
    return name.split("/")[-1].startswith("weight") and array.dtype in (np.int8, np.int16)


def serialise_tensors(packed: Packed) -> bytes:
    """Returns the bytes of a safetensors file."""
    from safetensors.numpy import save

    return save({name: np.array(array, order="C") for name, array in packed.items()})


def describe_tensors(packed: Packed, packings: Mapping[str, Packing]) -> dict[str, dict[str, Any]]:
    """Returns what a manifest says about each tensor: dtype and shape, or the packing.

    Args:
      packed: tensors by name, packed or plain.
      packings: how the packed ones are packed.
    """
    described = {}
    for name, array in packed.items():
        if name in packings:
            described[name] = dataclasses.asdict(packings[name])
        else:
            described[name] = {"dtype": array.dtype.name, "shape": list(array.shape)}
    return described
