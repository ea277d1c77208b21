"""Integer programs as one C file that runs anywhere.

In the order of their use: ``lowering`` writes a program as a list of ``layers``, following integer
``expressions`` and floats; ``tensors`` says what layers make, and ``plan`` what is computed
together and where it lies; ``generate`` writes C around the ``kernels``, with ``declarations`` of
the plan; ``compile`` and ``engine`` make a callable of that. ``interpreter`` is the meaning of a
list.
"""

from n2uq_jax.export.formats.c.generate import generate
from n2uq_jax.export.formats.c.lowering import lower
from n2uq_jax.export.program.program import IntegerProgram


def to_c(program: IntegerProgram, prefix: str = "model") -> dict[str, bytes]:
    """Writes a program as C.

    Args:
      program: of a network that takes uint8 or float32 images.
      prefix: of the files' names, and of every name that the linker sees.

    Returns:
      Contents by file name: ``model.c`` and ``model.h``.

    Raises:
      ValueError: if the program computes what C has no layer for.
    """
    source = generate(lower(program), prefix)
    return {f"{prefix}.c": source.code.encode(), f"{prefix}.h": source.header.encode()}
