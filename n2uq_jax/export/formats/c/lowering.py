"""From an integer program to a list of layers."""

from n2uq_jax.export.formats.c.float_lowering import FloatLowering
from n2uq_jax.export.formats.c.integer_lowering import IntegerLowering
from n2uq_jax.export.formats.c.layers import LayerList
from n2uq_jax.export.program.program import IntegerProgram


def lower(program: IntegerProgram) -> LayerList:
    """Writes a program as a list of layers.

    Args:
      program: of a network that takes uint8 or float32 images.

    Returns:
      The list; its output times its scale are the program's logits.

    Raises:
      ValueError: if the program computes what no layer does.
    """
    if program.integer_only:
        return IntegerLowering(program).layer_list()
    return FloatLowering(program).layer_list()
