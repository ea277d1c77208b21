"""Ranges against what the operations make of random integers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from n2uq_jax.export.trace.propagation import follow
from n2uq_jax.export.trace.ranges import Range
from n2uq_jax.export.trace.tracing import trace

LOW, HIGH = np.array([-5, 0, -9, 3]), np.array([7, 4, -2, 3])


def followed(function, held, dtype=jnp.int32):
    """Returns the range of ``function``'s result, and what was found of its last operation."""
    graph = trace(lambda _, x: function(x), {}, jax.ShapeDtypeStruct((9, 3, 3, 4), dtype))
    known, found = {graph.inputs[0]: held}, None
    for op in graph.ops:
        found = follow(op, known)
        if found.range is not None:
            known[op.outputs[0]] = found.range
    return known.get(graph.outputs[0]), found


def pool(x, start, function, padding):
    return lax.reduce_window(x, start, function, (1, 2, 2, 1), (1, 1, 1, 1), padding)


OPERATIONS = {
    # what it does, and whether the range is the tightest one.
    "add": (lambda x: x + 3, True),
    "sub": (lambda x: 5 - x, True),
    "mul": (lambda x: x * -2, True),
    "neg": (lambda x: -x, True),
    "abs": (jnp.abs, True),
    "square": (jnp.square, True),
    "clip": (lambda x: jnp.clip(x, -1, 2), True),
    "shift": (lambda x: x >> 1, True),
    "relu": (lambda x: jnp.maximum(x, 0), True),
    "select": (lambda x: jnp.where(x > 0, x, x >> 2), False),
    "reshape": (lambda x: x.reshape(-1, 4), True),
    "transpose": (lambda x: x.transpose(3, 1, 2, 0), False),
    "rev": (lambda x: x[..., ::-1], False),
    "slice": (lambda x: x[..., 1:3], True),
    "sum": (lambda x: x.sum((1, 2)), False),
    "sum of channels": (lambda x: x.sum(-1), False),
    "maximum of channels": (lambda x: x.max(-1), False),
    "pad": (lambda x: jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=9), True),
    "pad channels": (lambda x: jnp.pad(x, ((0, 0), (0, 0), (0, 0), (1, 0))), False),
    "concatenate": (lambda x: jnp.concatenate([x, 2 * x], -1), True),
    "cast": (lambda x: x.astype(jnp.int8).astype(jnp.float32).astype(jnp.int32), True),
    "compare": (lambda x: (x > 2).astype(jnp.int32), False),
    "max-pool": (lambda x: pool(x, -(2**31), lax.max, "VALID"), False),
    "sum-pool": (lambda x: pool(x, 0, lax.add, "SAME"), False),
    "constants": (lambda x: x * jnp.asarray([[[[1, 2, -3, 4]]]], jnp.int32), True),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_results_lie_in_their_range(name):
    function, is_tight = OPERATIONS[name]
    held, _ = followed(function, Range.of(LOW, HIGH))
    rng = np.random.default_rng(0)
    integers = rng.integers(LOW, HIGH + 1, (500, 3, 3, 4)).astype(np.int32)
    results = np.asarray(function(jnp.asarray(integers)))
    rows = results.reshape(-1, *held.low.shape)
    assert (rows >= held.low).all()
    assert (rows <= held.high).all()
    assert held.largest <= 9 * 36
    if is_tight:
        np.testing.assert_array_equal([rows.min(0), rows.max(0)], [held.low, held.high])


def test_overflow_is_found_in_the_channel_where_it_is():
    wide = Range.of([-5, 0, 0, -(2**16)], [5, 1, 1, 2**16])
    _, found = followed(lambda x: x * x, wide)
    assert found.range.bounds == (-(2**31), 2**31 - 1)
    assert (found.overflow.high > 2**31 - 1).tolist() == [False, False, False, True]


def test_nothing_overflows_of_which_nothing_is_known():
    unknown = Range.of_dtype(np.int32)
    _, found = followed(lambda x: x + 1, unknown)
    assert found.overflow is None
    assert found.range.bounds == unknown.bounds


def test_floats_hold_integers_up_to_their_mantissa():
    inside, _ = followed(lambda x: x * 2, Range.of(0, 2**23), jnp.float32)
    assert inside.bounds == (0, 2**24)
    beyond, _ = followed(lambda x: x * 2, Range.of(0, 2**23 + 1), jnp.float32)
    assert beyond is None
    half, _ = followed(lambda x: x * 0.5, Range.of(0, 4), jnp.float32)
    assert half is None
