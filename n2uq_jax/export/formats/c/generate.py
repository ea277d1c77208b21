"""model.c and model.h from a layer list."""

import dataclasses
import hashlib
import re
from collections.abc import Collection, Mapping
from importlib import resources

import numpy as np

from n2uq_jax.export.formats.c.arithmetic import includes
from n2uq_jax.export.formats.c.declarations import Declarations
from n2uq_jax.export.formats.c.layers import LayerList
from n2uq_jax.export.formats.c.plan import Stored, plan

VERSION = 1
"""Of the interface in model.h."""

_ROUNDING = """\
   Floats are rounded after every operation: compile with -ffp-contract=off, which -std=c99 implies
   in GCC, and without -ffast-math. Then every compiler and processor gives the same numbers."""


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
    declarations = Declarations(network, planned)
    lines = declarations.constants.lines
    body = "\n".join([*includes(lines), *lines])
    output = planned.stored[network.output]
    floats = output.tensor.is_float
    height, width, channels = network.image_shape
    values = {
        "prefix": prefix,
        "PREFIX": prefix.upper(),
        "version": VERSION,
        "height": height,
        "width": width,
        "channels": channels,
        "classes": output.tensor.shape[2],
        "input": "float" if network.float_image else "uint8_t",
        "output_type": "float" if floats else "int32_t",
        "about": _about(network.float_image, floats),
        "scale": float(np.float32(network.scale)).hex(),
        "decimal_scale": f"{np.float32(network.scale):.9g}",
        "workspace": planned.bytes,
        "output": declarations.tensor(network.output),
        "layers": ",\n".join(f"    {entry}" for entry in declarations.entries),
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


def _about(float_image: bool, float_logits: bool) -> str:
    what = "A network of integers and floats" if float_logits else "A network of integers"
    images = "normalized images of floats" if float_image else "images of unsigned bytes"
    logits = "logits of floats" if float_logits else "sums of int32"
    text = f"{what}: {images} in, {logits} out."
    return f"{text}\n\n{_ROUNDING}" if float_logits else text


def _text(name: str) -> str:
    return (resources.files("n2uq_jax.export.formats.c") / "kernels" / name).read_text()


def _filled(template: str, values: dict[str, object]) -> str:
    return re.sub(r"@(\w+)@", lambda m: str(values[m[1]]), template)
