"""An integer-only network as one HTML file that runs it.

``drawings`` reads off images how a drawing should look, ``about`` says what the page must know,
``assemble`` makes one file of the folder ``page``.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from n2uq_jax.export.formats.c.generate import generate
from n2uq_jax.export.formats.c.lowering import lower
from n2uq_jax.export.formats.c.webassembly import to_webassembly
from n2uq_jax.export.formats.html.about import describe_page
from n2uq_jax.export.formats.html.assemble import assemble
from n2uq_jax.export.program.program import IntegerProgram


def to_html(
    program: IntegerProgram,
    *,
    title: str | None = None,
    class_names: Sequence[str] | None = None,
    preprocessing: dict[str, Any] | None = None,
    images: np.ndarray | None = None,
) -> bytes:
    """Writes an integer-only program as a page.

    Args:
      program: of a network that takes uint8 images.
      title: of the page.
      class_names: one a logit; None: numbers.
      preprocessing: as in :func:`~n2uq_jax.export.exported.export_model`.
      images: uint8, shape ``(n, *image_shape)``. Some become samples on the page; drawings are made
        to look like them.

    Returns:
      The contents of an HTML file that needs no other.

    Raises:
      CompilerError: if there is no compiler for WebAssembly.
      ValueError: if the program keeps float arithmetic, or computes what C has no layer for.
    """
    if not program.integer_only:
        raise ValueError(
            "the format html takes integer-only networks, and this one computes in float between "
            "its products: create it with integer_only=True, or convert it by "
            "n2uq.to_integer_only."
        )
    network = lower(program)
    source = generate(network, kept=tuple(network.codes.values()))
    about = describe_page(
        network,
        source.stored,
        title=title,
        class_names=class_names,
        preprocessing=preprocessing,
        images=images,
        samples=None if images is None else _one_of_each_class(program, images),
    )
    return assemble(about, to_webassembly(source)).encode()


def _one_of_each_class(program: IntegerProgram, images: np.ndarray) -> np.ndarray:
    """Returns the first image that the program takes for class 0, for class 1, and so on."""
    images = images[:MOST_LOOKED_AT]
    _, first = np.unique(np.asarray(program(images)).argmax(-1), return_index=True)
    room = max(1, MOST_SAMPLE_BYTES // images[0].size)
    return images[first[: min(MOST_SAMPLES, room)]]


MOST_LOOKED_AT = 100
MOST_SAMPLES = 10
MOST_SAMPLE_BYTES = 500_000
