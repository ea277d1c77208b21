import jax.numpy as jnp
import pytest
from flax import nnx

from n2uq_jax.nn.integer import Grid, grids, set_grids


class Two(nnx.Module):
    def __init__(self):
        self.wide, self.narrow = Grid(16), Grid(8)

    def __call__(self, x):
        x = self.wide.round(x).dequantize()
        return self.narrow.round(self.wide.round(-3 * x).dequantize()).dequantize()


def test_steps_are_set_from_the_largest_value_of_all_batches():
    model = Two()
    batches = [jnp.array([1.0, -0.5]), jnp.array([50.0, 2.0]), jnp.array([1.0, 1.0])]
    largest = set_grids(model, batches)
    assert largest == {"narrow": pytest.approx(150), "wide": pytest.approx(150)}
    assert float(model.wide.step[...]) == pytest.approx(2 * 150 / 32767)
    assert float(model.narrow.step[...]) == pytest.approx(150 / 127)
    assert not model.wide.observing
    assert float(model(jnp.array([50.0]))[0]) == pytest.approx(-150, rel=1e-3)


def test_batches_must_exist_and_be_finite():
    with pytest.raises(ValueError, match="at least one batch"):
        set_grids(Two(), [])
    with pytest.raises(ValueError, match="not finite"):
        set_grids(Two(), [jnp.array([jnp.nan])])


def test_grids_are_found_by_path():
    model = Two()
    assert grids(model) == {"narrow": model.narrow, "wide": model.wide}
