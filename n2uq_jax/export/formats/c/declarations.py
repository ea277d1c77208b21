"""A planned network as tables in C: tensors, stages, pools, convolutions, and their order."""

import numpy as np

from n2uq_jax.export.formats.c.arithmetic import define_arithmetic
from n2uq_jax.export.formats.c.constants import Constants, filled_up, struct
from n2uq_jax.export.formats.c.convolution import as_conv, define_convolution
from n2uq_jax.export.formats.c.layers import (
    Add,
    Conv,
    FloatConv,
    LayerList,
    Pool,
    PReLU,
    Rescale,
    Threshold,
)
from n2uq_jax.export.formats.c.plan import Group, OnTile, Plan, Stage, Stored
from n2uq_jax.export.formats.c.weights import LANES


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
        root = group.root
        fields: dict[str, object] = {}
        grouped = tile_is_float = False
        if isinstance(root, Pool):
            fields["pool"] = "&" + self.pool(root)
            tile_is_float = self.plan.stored[root.input].tensor.is_float
        elif isinstance(root, FloatConv):
            fields["floats"] = "&" + self.float_convolution(root)
            tile_is_float = True
        elif root is not None:
            layer = as_conv(root, self.plan.stored[root.input].tensor.shape)
            grouped = layer.groups > 1
            fields["convolution"] = "&" + self.convolution(layer, group.shape)
        initializers = []
        for stage in group.stages:
            initializers.append(self.stage(stage, grouped, tile_is_float))
            if isinstance(stage, OnTile):
                tile_is_float = stage.layer.codes is None
        stages = ",\n    ".join(initializers)
        name = self.constants.name("stages")
        self.constants.lines.append(f"static const stage {name}[] = {{\n    {stages}\n}};")
        height, width, channels = group.shape
        fields |= {"stages": name, "count": len(group.stages)}
        self.entries.append(struct(**fields, height=height, width=width, channels=channels))

    def stage(self, stage: Stage, grouped: bool, tile_is_float: bool) -> str:
        """Returns the initializer of a stage.

        Args:
          stage: what works on the tile.
          grouped: whether it works on a product of several groups.
          tile_is_float: whether the tile holds floats in front of it.
        """

        def arrays(**values: np.ndarray) -> dict[str, str]:
            return {
                k: self.constants.per_channel(k, v.astype(np.int64), grouped)
                for k, v in values.items()
            }

        match stage:
            case (kind, tensor):
                return struct(kind=kind.upper(), other=self.reference(tensor))
            case OnTile():
                low, high = stage.layer.codes or (0, 0)
                name = define_arithmetic(
                    self.constants,
                    stage,
                    [self.reference(n) for n in stage.layer.inputs if n != stage.held],
                    grouped=grouped,
                    tile_is_float=tile_is_float,
                )
                return struct(kind="ARITHMETIC", arithmetic=f"&{name}", low=low, high=high)
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
            window=_window(layer.window, layer.stride, layer.padding),
            maximum=int(layer.kind == "max"),
        )
        return self.constants.define("pool", fields)

    def float_convolution(self, layer: FloatConv) -> str:
        """Defines a convolution of floats.

        Args:
          layer: the convolution.

        Returns:
          The structure's name.
        """
        height, width, each, features = layer.weight.shape
        weight = filled_up(layer.weight.reshape(-1, features), grouped=False)
        blocks = weight.reshape(len(weight), -1, LANES).swapaxes(0, 1)
        fields = struct(
            input=self.reference(layer.input),
            window=_window((height, width), layer.stride, layer.padding, layer.dilation),
            groups=layer.groups,
            inputs=each,
            features=features // layer.groups,
            weights=self.constants.floats("weights", blocks),
        )
        return self.constants.define("float_convolution", fields)

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


def _window(size, stride, padding, dilation=(1, 1)) -> str:
    (height, width), (top, left) = size, (before for before, _ in padding)
    return struct(
        height=height,
        width=width,
        stride_y=stride[0],
        stride_x=stride[1],
        dilation_y=dilation[0],
        dilation_x=dilation[1],
        pad_top=top,
        pad_left=left,
    )


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
