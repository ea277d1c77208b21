"""Where arrays live: a mesh of devices, batches over all of it, parameters over its fsdp axis."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

BATCH = P(("data", "fsdp"))
"""The batch axis is split over every device."""


def make_mesh(data: int | None = None, fsdp: int = 1, slices: int = 1) -> Mesh:
    """Arranges all devices in a ``(data, fsdp)`` mesh.

    Args:
      data: size of the data axis; None for whatever the other axis leaves.
      fsdp: size of the axis that parameters and optimizer state are spread over.
      slices: number of TPU slices, which the data axis joins across the slower network. Where
        devices know of no slices, such as GPUs, each process stands for one.

    Returns:
      The mesh.

    Raises:
      ValueError: if the sizes do not multiply to the number of devices, or there are other slices.
    """
    count = jax.device_count()
    if fsdp < 1 or slices < 1:
        raise ValueError(f"mesh.fsdp and mesh.slices must be positive, got {fsdp} and {slices}.")
    if data is None:
        data = count // fsdp
    if data * fsdp != count or data % slices:
        raise ValueError(
            f"mesh.data * mesh.fsdp must be the {count} devices and mesh.slices divide mesh.data; "
            f"got data={data}, fsdp={fsdp}, slices={slices}."
        )
    axis_types = (AxisType.Auto, AxisType.Auto)
    if slices > 1:
        known = len({getattr(device, "slice_index", 0) for device in jax.devices()})
        found = known if known > 1 else jax.process_count()
        if found != slices:
            raise ValueError(f"mesh.slices must be the number of slices, {found}; got {slices}.")
        devices = mesh_utils.create_hybrid_device_mesh(
            (data // slices, fsdp), (slices, 1), process_is_granule=known == 1
        )
        return Mesh(devices, ("data", "fsdp"), axis_types=axis_types)
    return jax.make_mesh((data, fsdp), ("data", "fsdp"), axis_types=axis_types)


def fsdp_sharding(mesh: Mesh, tree: Any) -> Any:
    """Chooses a sharding for every array of a state.

    An array is split over ``fsdp`` along its longest axis that divides evenly, the last one among
    equals; one that has no such axis is replicated.

    Args:
      mesh: from :func:`make_mesh`.
      tree: arrays or shapes.

    Returns:
      The same structure of shardings.
    """
    size = mesh.shape["fsdp"]

    def choose(array) -> NamedSharding:
        axes = [i for i, n in enumerate(array.shape) if size > 1 and n and n % size == 0]
        if not axes:
            return NamedSharding(mesh, P())
        axis = max(axes, key=lambda i: (array.shape[i], i))
        return NamedSharding(mesh, P(*(None,) * axis, "fsdp"))

    return jax.tree.map(choose, tree)


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of an array that every device holds whole."""
    return NamedSharding(mesh, P())


def put_batch(mesh: Mesh, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    """Moves this process's share of a batch to its devices.

    Args:
      mesh: from :func:`make_mesh`.
      batch: arrays with the local batch on their first axis.

    Returns:
      Global arrays, split over the whole mesh.
    """
    sharding = NamedSharding(mesh, BATCH)
    return {
        name: jax.make_array_from_process_local_data(sharding, value)
        for name, value in batch.items()
    }


def is_on_host(mesh: Mesh) -> bool:
    """Says whether arrays on the mesh may be host memory itself, so that its owner must wait.

    Args:
      mesh: from :func:`make_mesh`.

    Returns:
      True for CPU devices; other ones have copies of their own.
    """
    return mesh.devices.flat[0].platform == "cpu"


def gather(mesh: Mesh, tree: Any) -> Any:
    """Brings a state that is spread over devices and processes to every process, whole.

    Args:
      mesh: from :func:`make_mesh`.
      tree: global arrays.

    Returns:
      The same structure of arrays on this process's first device.
    """
    whole = jax.jit(lambda tree: tree, out_shardings=replicated(mesh))(tree)
    # By way of the host: an array that is committed to one device cannot be spread over processes.
    return jax.tree.map(lambda array: jnp.asarray(np.asarray(array.addressable_data(0))), whole)


def check_batch(mesh: Mesh, name: str, size: int, parts: int = 1) -> None:
    """Raises unless a batch can be split over the mesh.

    Args:
      mesh: from :func:`make_mesh`.
      name: the setting's name, for the message.
      size: examples in a global batch.
      parts: microbatches it is cut into first.

    Raises:
      ValueError: if it does not divide.
    """
    if size % (mesh.size * parts):
        raise ValueError(
            f"{name} must be a multiple of {mesh.size} devices times {parts} microbatches, "
            f"got {size}."
        )
