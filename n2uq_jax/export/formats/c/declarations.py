"""A planned network as tables in C: tensors, stages, pools, convolutions, and their order."""

import numpy as np

from n2uq_jax.export.formats.c.constants import Constants, filled_up, struct
from n2uq_jax.export.formats.c.convolution import as_conv, define_convolution
from n2uq_jax.export.formats.c.layers import (
    Add,
    Conv,
    Layer,
    LayerList,
    Pool,
    PReLU,
    Rescale,
    Threshold,
)
from n2uq_jax.export.formats.c.plan import Group, Plan, Stored


class Declarations:
    """The tables of ``kernels/network.h``.

    Args:
      network: the layers.
      planned: which of them are computed together, and where.

    Attributes:
      constants: definitions in C.
      entries: an initializer of a ``layer`` for each group.
    """

    def __init__(self, network: LayerList, planned: Plan):
        self.network = network
        self.plan = planned
        self.constants = Constants()
        self.entries: list[str] = []
        for index, stored in enumerate(planned.stored.values()):
            self.constants.lines.append(f"static const tensor tensor_{index} = {_tensor(stored)};")
        for group in planned.groups:
            self.group(group)

    def tensor(self, name: str) -> str:
        """Returns the name of a tensor in C."""
        return f"tensor_{list(self.plan.stored).index(name)}"

    def group(self, group: Group) -> None:
        """Adds the tables of a group.

        Args:
          group: with its root and its stages.
        """
        root, pool, convolution = group.root, "NULL", "NULL"
        grouped = False
        if isinstance(root, Pool):
            pool = "&" + self.pool(root)
        elif root is not None:
            layer = as_conv(root, self.plan.stored[root.input].tensor.shape)
            grouped = layer.groups > 1
            convolution = "&" + self.convolution(layer, group.shape)
        stages = ",\n    ".join(self.stage(stage, grouped) for stage in group.stages)
        name = self.constants.name("stages")
        self.constants.lines.append(f"static const stage {name}[] = {{\n    {stages}\n}};")
        height, width, channels = group.shape
        self.entries.append(
            f"{{.convolution = {convolution}, .pool = {pool}, .stages = {name}, "
            f".count = {len(group.stages)}, .height = {height}, .width = {width}, "
            f".channels = {channels}}}"
        )

    def stage(self, stage: Layer | tuple[str, str], grouped: bool) -> str:
        """Returns the initializer of a stage.

        Args:
          stage: a layer, or a load or store.
          grouped: whether it works on a product of several groups.
        """

        def arrays(**values: np.ndarray) -> dict[str, str]:
            return {
                k: self.constants.per_channel(k, v.astype(np.int64), grouped)
                for k, v in values.items()
            }

        match stage:
            case (kind, tensor):
                return struct(kind=kind.upper(), other=self.reference(tensor))
            case Add():
                other = self.reference(stage.other)
                return struct(kind="ADD", other=other, low=stage.low, high=stage.high)
            case Rescale():
                fields = arrays(multiplier=stage.multiplier, offset=stage.offset, shift=stage.shift)
                return struct(kind="RESCALE", **fields, low=stage.low, high=stage.high)
            case PReLU():
                fields = arrays(
                    multiplier=stage.multiplier,
                    offset=stage.offset,
                    shift=stage.shift,
                    before=stage.before,
                    after=stage.after,
                )
                return struct(kind="PRELU", **fields, low=stage.low, high=stage.high)
            case Threshold():
                alike = bool((stage.steps == stage.steps[:, :1]).all())
                steps = stage.steps[:, 0] if alike else stage.steps.T
                fields = arrays(base=stage.base, points=stage.points.T, steps=steps)
                row = filled_up(stage.base, grouped).shape[-1]
                count = stage.points.shape[1]
                kind = "COUNT" if alike else "LOOK_THROUGH"
                return struct(kind=kind, **fields, count=count, row=row)
        raise AssertionError(stage)

    def pool(self, layer: Pool) -> str:
        """Defines a pool."""
        fields = struct(
            input=self.reference(layer.input),
            window_y=layer.window[0],
            window_x=layer.window[1],
            stride_y=layer.stride[0],
            stride_x=layer.stride[1],
            pad_top=layer.padding[0][0],
            pad_left=layer.padding[1][0],
            maximum=int(layer.kind == "max"),
        )
        return self.constants.define("pool", fields)

    def convolution(self, layer: Conv, shape: tuple[int, int, int]) -> str:
        """Defines a convolution."""
        is_image = layer.input == self.network.image
        return define_convolution(
            self.constants,
            layer,
            shape,
            self.plan.stored[layer.input],
            self.reference(layer.input),
            self.network.zero if is_image else None,
        )

    def reference(self, name: str) -> str:
        """Returns a pointer to a tensor in C."""
        return f"&{self.tensor(name)}"


def _tensor(stored: Stored) -> str:
    height, width, channels = stored.tensor.shape
    offset = "IN_IMAGE" if stored.offset is None else stored.offset
    return struct(
        offset=offset,
        height=height,
        width=width,
        channels=channels,
        pitch=stored.pitch,
        type=stored.element,
    )
