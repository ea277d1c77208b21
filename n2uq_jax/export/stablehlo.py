"""``model.stablehlo``: the program for JAX on any platform, without this library."""

import jax
import jax.numpy as jnp
from jax import export

from n2uq_jax.export.program import IntegerProgram
from n2uq_jax.export.weights import pack_tensors, unpack_tensors

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
    """
    packed, packings = pack_tensors(program.tensors)

    def run(weights, images):
        logits, all_codes = program.run(unpack_tensors(weights, packings), images)
        return (logits, all_codes) if codes else logits

    (batch,) = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *program.image_shape), jnp.float32)
    shapes = {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in packed.items()}
    exported = export.export(jax.jit(run), platforms=PLATFORMS)(shapes, images)
    return bytes(exported.serialize())
