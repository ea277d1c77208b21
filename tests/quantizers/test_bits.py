import numpy as np
import pytest

from n2uq_jax.quantizers.bits import check_bits


@pytest.mark.parametrize("bits", [1, 8, np.int64(2), np.uint8(4)])
def test_integers_become_ints(bits):
    result = check_bits("bits", bits)
    assert result == bits
    assert type(result) is int


@pytest.mark.parametrize("bits", [True, np.bool_(True), 2.0, np.float32(2), "2", None])
def test_what_is_no_integer_is_refused(bits):
    with pytest.raises(TypeError, match=r"w_bits must be an int from 1 to 8, got "):
        check_bits("w_bits", bits)


@pytest.mark.parametrize("bits", [0, 9, -1, np.int64(16)])
def test_what_is_out_of_range_is_refused(bits):
    with pytest.raises(ValueError, match=f"a_bits must be from 1 to 8, got {bits}"):
        check_bits("a_bits", bits)
