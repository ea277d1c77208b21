"""``model.stablehlo``: the program for JAX on any platform, without this library."""

import jax
from jax import export

from n2uq_jax.export.artifact.tensors import flatten, pack_tensors, unflatten, unpack_tensors
from n2uq_jax.export.program.program import IntegerProgram
from n2uq_jax.export.trace.model import any_batch

PLATFORMS = ("cpu", "cuda", "tpu")
"""What the program is lowered for."""


def to_stablehlo(program: IntegerProgram, *, codes: bool = False) -> bytes:
    """Serialises a program by ``jax.export``, for any batch size and several platforms.

    The exported function is ``f(weights, images)``; its weights are the tensors of
    ``weights.safetensors`` by name, packed as they are there.

    Args:
      program: the integer program.
      codes: return also the codes of every quantizer, as ``(logits, codes by name)``.

    Returns:
      The bytes that ``jax.export.deserialize`` reads.

    Raises:
      ValueError: if the network's code needs the batch size as an int, as ``len(x)`` does.
    """
    packed, packings = pack_tensors(flatten(program))

    def run(weights, images):
        tensors, thresholds = unflatten(unpack_tensors(weights, packings), program.folded)
        logits, all_codes = program.run(tensors, thresholds, images)
        return (logits, all_codes) if codes else logits

    images = program.traced.images(any_batch())
    shapes = {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in packed.items()}
    try:
        exported = export.export(jax.jit(run), platforms=PLATFORMS)(shapes, images)
    except TypeError as error:
        if "_DimExpr" not in str(error):
            raise
        raise ValueError(
            "model must not need the batch size as a Python int, since an artifact takes any: "
            "write x.shape[0] instead of len(x), and reshape(x.shape[0], -1)."
        ) from error
    return bytes(exported.serialize())
