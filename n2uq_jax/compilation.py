"""How programs are compiled that run once or now and then."""

from collections.abc import Callable

import jax
from flax import nnx


def compile_fast() -> dict[str, int]:
    """Returns options for :func:`jax.jit` with which a program compiles fast and runs slower.

    For a program that runs once its compilation is what one waits for. On a CPU, LLVM's
    optimizations take three quarters of that: 13.6 s of processor time became 3.1 s for the random
    parameters of the quickstart's network. Floats may differ in the last bit, where LLVM fuses a
    product with a sum or does not.

    Returns:
      ``compiler_options``; empty on backends other than the CPU's.
    """
    return {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else {}


def construct(build: Callable[[], nnx.Module]) -> nnx.Module:
    """Builds a network with one compiled program for all of its parameters.

    Outside of a program every random number is one of its own, compiled for each shape.

    Args:
      build: takes nothing and returns the network; called twice, and traced.

    Returns:
      What ``build()`` returns, but for the last bit of random floats.
    """
    graphdef = nnx.graphdef(nnx.eval_shape(build))
    parameters = jax.jit(lambda: nnx.state(build()), compiler_options=compile_fast())
    return nnx.merge(graphdef, parameters())
