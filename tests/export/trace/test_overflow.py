import jax.numpy as jnp
import numpy as np
import pytest

from n2uq_jax.export.trace.overflow import find_overflow
from n2uq_jax.export.trace.ranges import Range
from n2uq_jax.export.trace.tracing import trace

INT32 = Range.of_dtype(np.int32)


@pytest.fixture(scope="module")
def op():
    return trace(lambda _, x: x * 2, {}, jnp.ones((2, 3), jnp.int32)).ops[-1]


def test_the_first_channel_that_does_not_fit_is_told(op):
    needed = Range.of([-5, -(2**31) - 1, 0], [5, 7, 2**31])
    found = find_overflow(op, needed, INT32, "stem")
    assert (found.channel, found.low, found.high) == (1, -(2**31) - 1, 7)
    assert str(found) == ("stem: mul in int32 can overflow: channel 1 lies in -2,147,483,649..7")


def test_the_ends_of_the_dtype_fit(op):
    assert find_overflow(op, Range.of(-(2**31), 2**31 - 1), INT32, "stem") is None
    found = find_overflow(op, Range.of(0, 2**31), INT32, "stem")
    assert (found.channel, found.high) == (0, 2**31)
