import jax.numpy as jnp
import numpy as np
import pytest

from n2uq_jax.models.copying import copy_shared_state
from tests.models.tiny import Tiny, arrays


def test_what_a_twin_shares_is_copied_and_quantizers_stay():
    source, target = Tiny(0, quantized=False), Tiny(1, quantized=True)
    source.norm.mean.set_value(jnp.arange(4.0))
    before = arrays(target)
    copy_shared_state(source, target)
    after, shared = arrays(target), arrays(source)
    for name, value in after.items():
        expected = shared[name] if name in shared else before[name]
        np.testing.assert_array_equal(value, expected, err_msg=name)
    assert len(after) == len(shared) + 4
    assert not np.array_equal(before["linear/kernel"], after["linear/kernel"])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            lambda: Tiny(0, quantized=False, features=5),
            r"linear/bias \(5,\), linear/kernel \(4, 5\)",
        ),
        (lambda: Tiny(0, quantized=True), "linear/input_quantizer/in_scale"),
    ],
    ids=["shape", "name"],
)
def test_state_that_the_network_has_not_is_named(source, message):
    target = Tiny(1, quantized=False)
    before = arrays(target)
    with pytest.raises(ValueError, match=f"init has state that the network has not: {message}"):
        copy_shared_state(source(), target)
    assert all(np.array_equal(value, before[name]) for name, value in arrays(target).items())
