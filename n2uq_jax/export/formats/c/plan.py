"""Which layers of a list are computed together, and where their tensors lie in the workspace.

A convolution, a dense layer or a pool fills small tiles; layers that work on each integer alone are
its stages, and work on the tile before the next is filled. Only what another group reads is stored.
"""

import dataclasses
import math
from collections.abc import Collection

from n2uq_jax.export.formats.c.layers import (
    Add,
    Arithmetic,
    Conv,
    Dense,
    FloatConv,
    Layer,
    LayerList,
    Pool,
    inputs,
)
from n2uq_jax.export.formats.c.tensors import Tensor, tensors
from n2uq_jax.export.formats.c.weights import LANES

ALIGNMENT, SLACK = 64, 64
"""As in ``kernels/network.h``."""


@dataclasses.dataclass(frozen=True, eq=False)
class OnTile:
    """Float arithmetic as a stage.

    Args:
      layer: the arithmetic.
      held: the input that the tile holds; the others are read where they lie.
    """

    layer: Arithmetic
    held: str | None

    @property
    def output(self) -> str:
        """Name of the result."""
        return self.layer.output


Stage = Layer | OnTile | tuple[str, str]
"""A layer, or ``("load", name)`` or ``("store", name)`` of a tensor."""


@dataclasses.dataclass
class Group:
    """Layers that are computed together.

    Args:
      root: the layer that fills tiles; None: the first stage loads them.
      shape: of the tensors it makes.
      stages: what works on the tile, in order.
    """

    root: Conv | Dense | Pool | FloatConv | None
    shape: tuple[int, int, int]
    stages: list[Stage]

    def stored(self) -> list[str]:
        """Names of the tensors that it writes."""
        return [s[1] for s in self.stages if isinstance(s, tuple) and s[0] == "store"]

    def read(self) -> list[str]:
        """Returns the names of the tensors that it reads."""
        names = [] if self.root is None else [self.root.input]
        for stage in self.stages:
            if isinstance(stage, Add):
                names.append(stage.other)
            elif isinstance(stage, OnTile):
                names += [name for name in stage.layer.inputs if name != stage.held]
        return names + [s[1] for s in self.stages if isinstance(s, tuple) and s[0] == "load"]


@dataclasses.dataclass(frozen=True)
class Stored:
    """A tensor in the workspace.

    Args:
      tensor: its shape and range.
      element: ``"U8"``, ``"I16"``, ``"I32"`` or ``"F32"``.
      offset: bytes from the workspace's start; None for the image.
      pitch: elements from pixel to pixel.
    """

    tensor: Tensor
    element: str
    offset: int | None
    pitch: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """Groups in order, the tensors that they store, and the bytes that those take."""

    groups: list[Group]
    stored: dict[str, Stored]
    bytes: int


def plan(network: LayerList, kept: Collection[str] = ()) -> Plan:
    """Plans a network.

    Args:
      network: the layers.
      kept: tensors that are to be stored, and left alone until the end.

    Returns:
      The groups of layers in order, and where each tensor is kept.

    Raises:
      ValueError: if it is not sound, or the image is read by a layer that cannot subtract its zero.
    """
    shapes = tensors(network)
    groups = _grouped(network, shapes, kept)
    stored = _placed(network, groups, shapes, kept)
    ends = [s.offset + _bytes(s) for s in stored.values() if s.offset is not None]
    return Plan(groups, stored, max(ends, default=0))


def _grouped(network: LayerList, shapes: dict[str, Tensor], kept: Collection[str]) -> list[Group]:
    groups: list[Group] = []
    made_by: dict[str, int] = {}
    tile: list[str | None] = []  # what a group's tile holds after its last stage
    needed = {network.output, *kept}
    for layer in network.layers:
        shape = shapes[layer.output].shape
        if isinstance(layer, Conv | Dense | Pool | FloatConv):
            needed.add(layer.input)
            groups.append(Group(layer, shape, []))
            tile.append(layer.output)
            made_by[layer.output] = len(groups) - 1
            continue
        last = max(made_by.get(name, -1) for name in inputs(layer))
        if last < 0:
            groups.append(Group(None, shape, []))
            tile.append(None)
            last = len(groups) - 1
        if isinstance(layer, Arithmetic):
            held = tile[last] if tile[last] in layer.inputs else None
            needed.update(name for name in layer.inputs if name != held)
            groups[last].stages.append(OnTile(layer, held))
        else:
            if isinstance(layer, Add) and tile[last] == layer.other:
                layer = dataclasses.replace(layer, input=layer.other, other=layer.input)
            if tile[last] != layer.input:
                groups[last].stages.append(("load", layer.input))
                needed.add(layer.input)
            if isinstance(layer, Add):
                needed.add(layer.other)
            groups[last].stages.append(layer)
        tile[last] = layer.output
        made_by[layer.output] = last
    for layer in network.layers:
        reads_image = network.image in inputs(layer)
        if reads_image and not isinstance(layer, Conv | Dense) and network.zero.any():
            raise ValueError(
                f"{layer.output!r} reads the image, whose zero only products subtract."
            )
    return [_with_stores(group, needed) for group in groups]


def _with_stores(group: Group, needed: set[str]) -> Group:
    stages: list[Stage] = []
    if group.root is not None and group.root.output in needed:
        stages.append(("store", group.root.output))
    for stage in group.stages:
        stages.append(stage)
        if not isinstance(stage, tuple) and stage.output in needed:
            stages.append(("store", stage.output))
    return dataclasses.replace(group, stages=stages)


def _element(tensor: Tensor, is_output: bool = False) -> str:
    if tensor.is_float:
        return "F32"
    if is_output:
        return "I32"
    if tensor.low >= 0 and tensor.high <= 255:
        return "U8"
    return "I16" if tensor.low >= -(2**15) and tensor.high < 2**15 else "I32"


_SIZES = {"U8": 1, "I16": 2, "I32": 4, "F32": 4}


def _bytes(stored: Stored) -> int:
    height, width, _ = stored.tensor.shape
    size = height * width * stored.pitch * _SIZES[stored.element] + SLACK
    return math.ceil(size / ALIGNMENT) * ALIGNMENT


def _placed(
    network: LayerList, groups: list[Group], shapes: dict[str, Tensor], kept: Collection[str]
) -> dict[str, Stored]:
    """Places tensors so that those which are needed at the same time do not overlap."""
    pixel_channels = network.image_shape[2]
    element = "F32" if network.float_image else "U8"
    image = Stored(shapes[network.image], element, None, pixel_channels)
    placed = {network.image: image}
    lives: dict[str, tuple[int, int]] = {}
    for index, group in enumerate(groups):
        for name in [*group.stored(), *group.read()]:
            if name != network.image:
                lives[name] = (lives.get(name, (index, index))[0], index)
    for name in {network.output, *kept} & set(lives):
        lives[name] = (lives[name][0], len(groups))
    for name, (first, last) in sorted(lives.items(), key=lambda item: item[1]):
        tensor = shapes[name]
        pitch = -(-tensor.shape[2] // LANES) * LANES
        new = Stored(tensor, _element(tensor, name == network.output), 0, pitch)
        taken = sorted(
            (other.offset, other.offset + _bytes(other))
            for key, other in placed.items()
            if other.offset is not None and lives[key][0] <= last and first <= lives[key][1]
        )
        offset = 0
        for start, end in taken:
            if offset + _bytes(new) <= start:
                break
            offset = max(offset, end)
        placed[name] = dataclasses.replace(new, offset=offset)
    return placed
