import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from n2uq_jax.training import sharding


def test_the_mesh_takes_all_devices():
    mesh = sharding.make_mesh(fsdp=2)
    assert dict(mesh.shape) == {"data": 4, "fsdp": 2}
    assert mesh.size == jax.device_count() == 8
    assert sharding.is_on_host(mesh)


@pytest.mark.parametrize(
    "sizes",
    [{"data": 3}, {"fsdp": 3}, {"data": 8, "fsdp": 2}, {"slices": 3}, {"slices": 2}, {"fsdp": 0}],
)
def test_sizes_that_do_not_fit_are_named(sizes):
    with pytest.raises(ValueError, match=r"mesh\."):
        sharding.make_mesh(**sizes)


def test_the_longest_axis_that_divides_is_split():
    mesh = sharding.make_mesh(fsdp=4)
    arrays = {
        "kernel": jnp.zeros((3, 3, 8, 16)),
        "square": jnp.zeros((8, 8)),
        "odd": jnp.zeros((3, 5)),
        "scalar": jnp.zeros(()),
    }
    specs = {name: s.spec for name, s in sharding.fsdp_sharding(mesh, arrays).items()}
    assert specs["kernel"] == P(None, None, None, "fsdp")
    assert specs["square"] == P(None, "fsdp")
    assert specs["odd"] == specs["scalar"] == P()


def test_without_fsdp_everything_is_replicated():
    mesh = sharding.make_mesh()
    assert sharding.fsdp_sharding(mesh, {"a": jnp.zeros((8, 8))})["a"].spec == P()


def test_a_batch_is_split_over_every_device_in_order():
    mesh = sharding.make_mesh(fsdp=2)
    image = np.arange(16 * 3, dtype=np.uint8).reshape(16, 3)
    put = sharding.put_batch(mesh, {"image": image})["image"]
    np.testing.assert_array_equal(put, image)
    assert {s.data.shape for s in put.addressable_shards} == {(2, 3)}


def test_batches_that_cannot_be_split_are_named():
    mesh = sharding.make_mesh()
    sharding.check_batch(mesh, "batch_size", 16, 2)
    with pytest.raises(ValueError, match=r"batch_size must be a multiple of 8 .* got 12"):
        sharding.check_batch(mesh, "batch_size", 12)


def test_gather_brings_a_split_state_to_one_device():
    mesh = sharding.make_mesh(fsdp=4)
    value = jnp.arange(32.0).reshape(8, 4)
    split = jax.device_put({"a": value}, sharding.fsdp_sharding(mesh, {"a": value}))
    whole = sharding.gather(mesh, split)["a"]
    assert len(whole.devices()) == 1
    np.testing.assert_array_equal(whole, value)
