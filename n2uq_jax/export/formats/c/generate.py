"""model.c and model.h from a layer list."""

import dataclasses
import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from importlib import resources

import numpy as np

from n2uq_jax.export.formats.c.layers import (
    Add,
    Conv,
    Dense,
    Layer,
    LayerList,
    Pool,
    PReLU,
    Rescale,
    Threshold,
)
from n2uq_jax.export.formats.c.plan import Group, Plan, Stored, plan
from n2uq_jax.export.formats.c.weights import LANES, bit_planes, blocks_of, numbers_of

VERSION = 1
"""Of the interface in model.h."""


@dataclasses.dataclass(frozen=True)
class Source:
    """The text of ``model.c`` and ``model.h``.

    Args:
      code: of ``model.c``.
      header: of ``model.h``.
      stored: where tensors lie in the workspace of an image.
    """

    code: str
    header: str
    stored: Mapping[str, Stored] = dataclasses.field(default_factory=dict)


def generate(network: LayerList, prefix: str = "model", kept: Collection[str] = ()) -> Source:
    """Writes a network as C.

    Args:
      network: the layers.
      prefix: of every name that the linker sees, so that two networks fit in one program; the
        header's file name is to be ``<prefix>.h``.
      kept: tensors that are to lie in the workspace after a run of one image; this takes memory,
        and no time.

    Returns:
      The program's two files.

    Raises:
      ValueError: if ``prefix`` is no C identifier, or the network cannot be computed in int32.
    """
    if not re.fullmatch(r"[A-Za-z]\w*", prefix):
        raise ValueError(f"prefix must be a C identifier, got {prefix!r}.")
    planned = plan(network, kept)
    writer = _Writer(network, planned)
    for group in planned.groups:
        writer.group(group)
    body = "\n".join(writer.lines)
    output = planned.stored[network.output]
    height, width, channels = network.image_shape
    values = {
        "prefix": prefix,
        "PREFIX": prefix.upper(),
        "version": VERSION,
        "height": height,
        "width": width,
        "channels": channels,
        "classes": output.tensor.shape[2],
        "scale": float(np.float32(network.scale)).hex(),
        "decimal_scale": f"{np.float32(network.scale):.9g}",
        "workspace": planned.bytes,
        "output": f"tensor_{_index(planned, network.output)}",
        "layers": ",\n".join(f"    {entry}" for entry in writer.entries),
        "digest": hashlib.sha256(body.encode()).hexdigest()[:16],
    }
    header = _filled(_text("model.h.in"), values)
    code = _filled(_text("model.c.in"), {**values, "kernels": kernels(), "constants": body})
    return Source(code, header, planned.stored)


def kernels() -> str:
    """The kernels' files as one text, each included once.

    Returns:
      C that includes nothing of ours.
    """
    seen: set[str] = set()

    def text(name: str) -> str:
        if name in seen:
            return ""
        seen.add(name)
        source = _text(name)
        return re.sub(r'^#include "(.+)"\n', lambda m: text(m[1]), source, flags=re.MULTILINE)

    return text("run.c")


def _text(name: str) -> str:
    return (resources.files("n2uq_jax.export.formats.c") / "kernels" / name).read_text()


def _filled(template: str, values: dict[str, object]) -> str:
    return re.sub(r"@(\w+)@", lambda m: str(values[m[1]]), template)


def _index(planned: Plan, name: str) -> int:
    return list(planned.stored).index(name)


class _Writer:
    """Collects constants, and an entry for each group."""

    def __init__(self, network: LayerList, planned: Plan):
        self.network = network
        self.plan = planned
        self.lines: list[str] = []
        self.entries: list[str] = []
        self.count = 0
        for index, stored in enumerate(planned.stored.values()):
            self.lines.append(f"static const tensor tensor_{index} = {_tensor(stored)};")

    def tensor(self, name: str) -> str:
        return f"&tensor_{_index(self.plan, name)}"

    def name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}_{self.count}"

    def array(self, kind: str, ctype: str, literals: Iterable[str]) -> str:
        name = self.name(kind)
        rows, row = [], ""
        for literal in literals:
            if len(row) + len(literal) > 96:
                rows.append(row.rstrip())
                row = ""
            row += f"{literal}, "
        rows.append(row.rstrip())
        body = "\n    ".join(rows)
        self.lines.append(f"static const {ctype} {name}[] = {{\n    {body}\n}};")
        return name

    def integers(self, kind: str, values: np.ndarray) -> str:
        return self.array(kind, "int32_t", map(_literal, values.ravel().tolist()))

    def per_channel(self, kind: str, values: np.ndarray, grouped: bool) -> str:
        """Writes the last axis with room for whole vectors, which zeros fill."""
        return self.integers(kind, _filled_up(values, grouped))

    def group(self, group: Group) -> None:
        root, pool, convolution = group.root, "NULL", "NULL"
        grouped = False
        if isinstance(root, Pool):
            pool = "&" + self.pool(root)
        elif root is not None:
            layer = _as_conv(root, self.plan.stored[root.input].tensor.shape)
            grouped = layer.groups > 1
            convolution = "&" + self.convolution(layer, group.shape)
        stages = ",\n    ".join(self.stage(stage, grouped) for stage in group.stages)
        name = self.name("stages")
        self.lines.append(f"static const stage {name}[] = {{\n    {stages}\n}};")
        height, width, channels = group.shape
        self.entries.append(
            f"{{.convolution = {convolution}, .pool = {pool}, .stages = {name}, "
            f".count = {len(group.stages)}, .height = {height}, .width = {width}, "
            f".channels = {channels}}}"
        )

    def stage(self, stage: Layer | tuple[str, str], grouped: bool) -> str:
        def arrays(**values: np.ndarray) -> dict[str, str]:
            return {k: self.per_channel(k, v.astype(np.int64), grouped) for k, v in values.items()}

        match stage:
            case (kind, tensor):
                return _struct(kind=kind.upper(), other=self.tensor(tensor))
            case Add():
                other = self.tensor(stage.other)
                return _struct(kind="ADD", other=other, low=stage.low, high=stage.high)
            case Rescale():
                fields = arrays(multiplier=stage.multiplier, offset=stage.offset, shift=stage.shift)
                return _struct(kind="RESCALE", **fields, low=stage.low, high=stage.high)
            case PReLU():
                fields = arrays(
                    multiplier=stage.multiplier,
                    offset=stage.offset,
                    shift=stage.shift,
                    before=stage.before,
                    after=stage.after,
                )
                return _struct(kind="PRELU", **fields, low=stage.low, high=stage.high)
            case Threshold():
                alike = bool((stage.steps == stage.steps[:, :1]).all())
                steps = stage.steps[:, 0] if alike else stage.steps.T
                fields = arrays(base=stage.base, points=stage.points.T, steps=steps)
                row = _filled_up(stage.base, grouped).shape[-1]
                count = stage.points.shape[1]
                kind = "COUNT" if alike else "LOOK_THROUGH"
                return _struct(kind=kind, **fields, count=count, row=row)
        raise AssertionError(stage)

    def pool(self, layer: Pool) -> str:
        name = self.name("pool")
        fields = _struct(
            input=self.tensor(layer.input),
            window_y=layer.window[0],
            window_x=layer.window[1],
            stride_y=layer.stride[0],
            stride_x=layer.stride[1],
            pad_top=layer.padding[0][0],
            pad_left=layer.padding[1][0],
            maximum=int(layer.kind == "max"),
        )
        self.lines.append(f"static const pool {name} = {fields};")
        return name

    def convolution(self, layer: Conv, shape: tuple[int, int, int]) -> str:
        source = self.plan.stored[layer.input]
        _, _, channels = source.tensor.shape
        kernel_height, kernel_width, inputs, features = layer.weight.shape
        depthwise = layer.groups == channels == features and channels > 1
        groups = 1 if depthwise else layer.groups
        numbers = numbers_of(layer.weight)
        low, high = min(source.tensor.low, 0), max(source.tensor.high, 1)
        is_image = layer.input == self.network.image
        if source.element == "I32":
            raise ValueError(
                f"{layer.output!r} reads integers from {low} to {high}; products take 16 bits."
            )
        zero = self._zero(source, is_image, low)
        lookups = not is_image and low == 0 and high <= 3 and numbers.bits <= 2
        fold = layer.dilation[1] == 1 and groups == 1 and not depthwise and numbers.step == 1
        if depthwise:
            pitch = -(-channels // LANES) * LANES
        elif fold and not lookups:
            pitch = inputs
        else:
            pitch = -(-inputs // 4) * 4
        run = -(-(kernel_width * pitch if fold else pitch) // 4) * 4
        padded_height = (
            (shape[0] - 1) * layer.stride[0] + (kernel_height - 1) * layer.dilation[0] + 1
        )
        padded_width = (shape[1] - 1) * layer.stride[1] + (kernel_width - 1) * layer.dilation[1] + 1
        pixel = groups * pitch
        columns = [0] if fold else [x * layer.dilation[1] for x in range(kernel_width)]
        offsets = [
            (y * layer.dilation[0] * padded_width + x) * pixel
            for y in range(kernel_height)
            for x in columns
        ]
        matrix = _matrix(layer.weight, groups, pitch, run, len(columns), numbers, depthwise)
        packed = bit_planes(blocks_of(matrix), numbers)
        words = np.frombuffer(packed + bytes(-len(packed) % 8), "<u8")
        fields: dict[str, object] = {
            "input": self.tensor(layer.input),
            "out_height": shape[0],
            "out_width": shape[1],
            "out_channels": features,
            "groups": layer.groups,
            "stride_y": layer.stride[0],
            "stride_x": layer.stride[1],
            "pad_top": layer.padding[0][0],
            "pad_left": layer.padding[1][0],
            "padded_height": padded_height,
            "padded_width": padded_width,
            "pitch": pitch,
            "taps": len(offsets),
            "run": run,
            "tap_offsets": self.integers("tap_offsets", np.array(offsets)),
            "weights": self.array("weights", "uint64_t", (f"0x{w:x}u" for w in words.tolist())),
            "bits": numbers.bits,
            "first": numbers.first,
            "step": numbers.step,
            "largest_input": max(-low, high),
            "largest_byte": high if low == 0 else 255 if is_image else high - low,
            "largest_weight": max(1, int(np.abs(layer.weight.astype(int)).max())),
            "depthwise": int(depthwise),
        }
        grouped = groups > 1
        if zero is not None:
            fields["zero"] = self.array("zero", "uint8_t", map(str, zero.tolist()))
            sums = _zero_sums(layer, zero, depthwise)
            fields["correction"] = self.per_channel("correction", sums, grouped)
        if layer.bias is not None:
            fields["bias"] = self.per_channel("bias", layer.bias.astype(np.int64), grouped)
        name = self.name("convolution")
        self.lines.append(f"static const convolution {name} = {_struct(**fields)};")
        return name

    def _zero(self, source: Stored, is_image: bool, low: int) -> np.ndarray | None:
        if is_image:
            return self.network.zero.astype(np.int64) if self.network.zero.any() else None
        if source.element == "I16" and 0 > low >= -255:
            return np.full(source.tensor.shape[2], -low)
        return None


def _as_conv(layer: Conv | Dense, shape: tuple[int, int, int]) -> Conv:
    if isinstance(layer, Conv):
        return layer
    weight = layer.weight.reshape(*shape, -1)
    return Conv(layer.input, layer.output, weight, bias=layer.bias)


def _matrix(weight, groups, pitch, run, columns, numbers, depthwise) -> np.ndarray:
    """Returns weight numbers, shape ``(groups, inputs, features)``, in the order of the runs."""
    integers = weight.astype(int)
    height, width, inputs, features = integers.shape
    # Inputs of no channel are 0, and so may meet any weight; in a folded run they are the next
    # pixel's, and there weight 0 has a number.
    filling = numbers.zero or 0
    m = (integers - numbers.first) // numbers.step
    if depthwise:
        m = m.reshape(1, height * width, features)
        return np.pad(m, ((0, 0), (0, -m.shape[1] % 4), (0, 0)))
    m = np.pad(m, ((0, 0), (0, 0), (0, pitch - inputs), (0, 0)), constant_values=filling)
    m = m.reshape(height * columns, -1, features)
    m = np.pad(m, ((0, 0), (0, run - m.shape[1]), (0, 0)), constant_values=filling)
    m = m.reshape(-1, groups, features // groups)
    return m.swapaxes(0, 1)


def _zero_sums(layer: Conv, zero: np.ndarray, depthwise: bool) -> np.ndarray:
    """Sums of weights times the zeros that stand in their inputs."""
    weight = layer.weight.astype(np.int64)
    inputs, features = weight.shape[2:]
    each = features // layer.groups
    group = np.arange(features) // each
    channels = group[None, :] * inputs + np.arange(inputs)[:, None]
    return (weight * zero[channels]).sum((0, 1, 2))


def _filled_up(values: np.ndarray, grouped: bool) -> np.ndarray:
    channels = values.shape[-1]
    # A group's last block may begin at any channel, and is read as a whole.
    room = -channels % LANES + (LANES if grouped else 0)
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, room)])


def _tensor(stored: Stored) -> str:
    height, width, channels = stored.tensor.shape
    offset = "IN_IMAGE" if stored.offset is None else stored.offset
    return _struct(
        offset=offset,
        height=height,
        width=width,
        channels=channels,
        pitch=stored.pitch,
        type=stored.element,
    )


def _struct(**fields: object) -> str:
    return "{" + ", ".join(f".{key} = {value}" for key, value in fields.items()) + "}"


def _literal(value: int) -> str:
    # There are no negative literals, and 2147483648 is none of int32.
    return "INT32_MIN" if value == -(2**31) else str(value)
