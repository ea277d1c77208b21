import itertools

import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from jax import lax

from n2uq_jax.primitives import (
    IDENTITIES,
    MOVES,
    POINTWISE,
    PRIMITIVES,
    RESHAPES,
    known,
)

NUMBERS = np.float32([-7.5, -2, -1.5, -0.5, 0, 0.5, 1, 2.5, 8])
FUNCTIONS = {
    "add": lax.add, "ceil": lax.ceil, "clamp": lax.clamp, "floor": lax.floor, "ge": lax.ge,
    "gt": lax.gt, "le": lax.le, "lt": lax.lt, "max": lax.max, "min": lax.min, "neg": lax.neg,
    "round": lambda x: lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN), "sign": lax.sign,
    "sub": lax.sub,
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_results_follow_each_operand_as_the_table_says(name):
    signs = known(name).signs
    for i, sign in enumerate(signs):
        for rest in itertools.product(NUMBERS[::4], repeat=len(signs) - 1):
            operands = [jnp.full(9, value) for value in rest]
            operands.insert(i, jnp.asarray(NUMBERS))
            steps = np.diff(np.asarray(FUNCTIONS[name](*operands)).astype(np.float32))
            assert (steps >= 0).all() if sign == "+" else (steps <= 0).all()


def test_every_arithmetic_row_with_signs_is_tested():
    rows = {name for name, row in PRIMITIVES.items() if row.signs and not row.moves}
    assert rows == set(FUNCTIONS)


@pytest.mark.parametrize("name", [name for name, row in PRIMITIVES.items() if row.onnx])
def test_onnx_operators_take_as_many_operands(name):
    schema = onnx.defs.get_schema(known(name).onnx, 17)
    binary = {"add", "sub", "mul", "div", "max", "min", "pow", "and", "or", "xor"}
    binary |= {"eq", "ge", "gt", "le", "lt"}
    assert schema.min_input <= (2 if name in binary else 1) <= schema.max_input
    assert schema.max_output == 1


def test_sets_follow_from_the_table():
    assert MOVES >= RESHAPES | IDENTITIES
    assert POINTWISE >= IDENTITIES
    assert not POINTWISE & RESHAPES
    assert not known("sort").pointwise
