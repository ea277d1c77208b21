import jax
import jax.numpy as jnp
from flax import nnx

from n2uq_jax.training.memory import step_memory
from n2uq_jax.training.sharding import make_mesh
from n2uq_jax.training.state import TrainState, split_model
from n2uq_jax.training.step import Pixels


class Squares(nnx.Module):
    """Keeps its input for the backward pass of the product, and the product for the square's."""

    def __init__(self, rngs):
        self.linear = nnx.Linear(4, 8, use_bias=False, rngs=rngs)

    def __call__(self, x):
        return jnp.square(self.linear(x))


def test_bytes_are_those_of_the_arrays_that_a_step_keeps():
    graphdefs, params, rest = split_model(nnx.eval_shape(lambda: Squares(nnx.Rngs(0))))
    count = jax.ShapeDtypeStruct((), jnp.int32)
    state = TrainState(count, params, rest, (params, params))
    images = jax.ShapeDtypeStruct((16, 4), jnp.uint8)
    found = step_memory(
        graphdefs, state, params, images, Pixels((0.5,) * 4, (0.5,) * 4, "float32"), make_mesh()
    )
    kernel = 4 * 8 * 4
    assert (found.state, found.gradients, found.teacher) == (3 * kernel + 4, kernel, kernel)
    assert found.activations == 16 * (4 + 8) * 4
    assert found.total == 5 * kernel + 4 + found.activations
