"""What an artifact can hold beside its weights: one file, or one room, for each format."""

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np

from n2uq_jax.export.program.program import IntegerProgram

FORMATS = {
    # format: the packages that writing it needs.
    "stablehlo": ("flatbuffers",),
    "onnx": ("onnx",),
    "qonnx": ("onnx",),
    "c": (),
    "html": (),
}
"""The formats, and the packages that each needs."""


def check_formats(formats: Sequence[str]) -> None:
    """Raises an error if one of some formats is unknown or lacks a package.

    Args:
      formats: at least one of :data:`FORMATS`.

    Raises:
      ValueError: if a format is unknown, or there is none.
      ImportError: if a package is missing.
      CompilerError: if there is no compiler that a format needs.
    """
    known = not isinstance(formats, str) and formats and set(formats) <= set(FORMATS)
    if not known:
        got = formats if isinstance(formats, str) else sorted(formats)
        raise ValueError(f"formats must be among {', '.join(FORMATS)}; got {got}.")
    for name in formats:
        for package in FORMATS[name]:
            if importlib.util.find_spec(package) is None:
                raise ImportError(
                    f"the format {name} needs the package {package}: "
                    "pip install 'n2uq_jax[export]'."
                )
    if "html" in formats:
        from n2uq_jax.export.formats.c.webassembly import check_webassembly

        check_webassembly()


def write_format(
    program: IntegerProgram,
    name: str,
    *,
    title: str | None = None,
    class_names: Sequence[str] | None = None,
    preprocessing: dict[str, Any] | None = None,
    images: np.ndarray | None = None,
) -> dict[str, bytes]:
    """Converts a program to one of :data:`FORMATS`.

    Args:
      program: the integer program.
      name: of the format.
      title: of a page.
      class_names: as in :func:`~n2uq_jax.export.exported.export_model`; for a page, as all that
        follow.
      preprocessing: as there.
      images: as there, but no noise.

    Returns:
      Contents by file name.
    """
    # Imported here: each format needs packages that the others do not.
    if name == "stablehlo":
        from n2uq_jax.export.formats.stablehlo import to_stablehlo

        return {"model.stablehlo": to_stablehlo(program)}
    if name == "onnx":
        from n2uq_jax.export.formats.onnx.runtime import to_onnx

        return {"model.onnx": to_onnx(program)}
    if name == "c":
        from n2uq_jax.export.formats.c import to_c

        return to_c(program)
    if name == "html":
        from n2uq_jax.export.formats.html import to_html

        page = to_html(
            program,
            title=title,
            class_names=class_names,
            preprocessing=preprocessing,
            images=images,
        )
        return {"model.html": page}
    from n2uq_jax.export.formats.qonnx import to_qonnx

    return {"model.qonnx.onnx": to_qonnx(program)}
