import jax.numpy as jnp
import pytest

from n2uq_jax.arithmetic.exactness import accumulator_dtype, choose_operands
from n2uq_jax.quantizers import QArray


def codes(max_code, dtype="float32"):
    return QArray(jnp.zeros((1,), dtype), jnp.float32(1), max_code)


@pytest.mark.parametrize(
    ("dtype", "max_code", "terms", "expected"),
    [
        ("float32", 15, 4608, "float32"),
        ("float32", 1, 2**24, "float32"),
        ("float32", 1, 2**24 + 1, "int32"),
        ("float32", 255, 258, "float32"),
        ("float32", 255, 259, "int32"),
        ("bfloat16", 15, 4608, "bfloat16"),
        ("bfloat16", 255, 258, "bfloat16"),
        ("bfloat16", 257, 1, "int32"),
        ("float16", 255, 9, "float16"),
        ("int8", 127, 10**5, "int8"),
        ("int8", 255, 9, "int32"),
        ("float32", None, 9, "int32"),
    ],
)
def test_choice(dtype, max_code, terms, expected):
    assert choose_operands(None, codes(max_code, dtype), codes(max_code), terms) == expected


def test_float64_is_wider(x64):
    assert choose_operands(None, codes(255, "float64"), codes(255), 10**6) == "float64"


@pytest.mark.parametrize(
    ("operands", "max_code", "terms", "exact"),
    [
        ("int8", 127, 2**17, True),
        ("int8", 128, 1, False),
        ("int8", 127, 2**18, False),
        ("bfloat16", 256, 2**8, True),
        ("bfloat16", 257, 1, False),
        ("float32", 2**12, 1, True),
        ("float32", 2**12, 2, False),
        ("float32", None, 1, False),
        ("int32", None, 1, True),
        ("int32", 255, 33_025, True),
    ],
)
def test_named_type_is_checked(operands, max_code, terms, exact):
    arguments = operands, codes(max_code), codes(max_code), terms
    if exact:
        assert choose_operands(*arguments) == operands
    else:
        with pytest.raises(ValueError, match=f"operands='{operands}' is not exact for {terms} pro"):
            choose_operands(*arguments)


def test_sums_that_no_type_holds_are_refused_by_default_too():
    assert choose_operands(None, codes(255), codes(255), 33_025) == "int32"  # below 2**31
    with pytest.raises(ValueError, match=r"33026 products of codes up to 255 and 255 .*int32"):
        choose_operands(None, codes(255), codes(255), 33_026)
    with pytest.raises(ValueError, match=r"33026 products .* reach 2\*\*31"):
        choose_operands("int32", codes(255), codes(255), 33_026)


def test_unknown_type():
    with pytest.raises(ValueError, match=r"operands must be None, .float32.*got .int4"):
        choose_operands("int4", codes(1), codes(1), 1)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_plain_floats_are_multiplied_in_their_own_type(dtype):
    assert choose_operands(None, jnp.zeros((1,), dtype), codes(3), 9) == dtype


def test_accumulators():
    types = ["float64", "float32", "bfloat16", "float16", "int32", "int8"]
    expected = ["float64", "float32", "float32", "float32", "int32", "int32"]
    assert [accumulator_dtype(t).name for t in types] == expected
