import jax
import numpy as np
import pytest

from n2uq_jax.export.artifact.packing import Packing, pack, unpack


@pytest.mark.parametrize("bits", range(1, 9))
def test_odd_codes_take_their_bit_width(bits):
    levels = 2**bits - 1
    rng = np.random.default_rng(bits)
    codes = (2 * rng.integers(0, levels + 1, (3, 3, 5, 7)) - levels).astype(np.int16)
    codes.flat[:2] = [-levels, levels]
    packed, packing = pack(codes)
    assert packing == Packing(bits, -levels, 2, (3, 3, 5, 7))
    assert packed.dtype == np.uint8
    assert len(packed) == packing.bytes == -(-315 * bits // 8)
    unpacked = jax.jit(unpack, static_argnums=1)(packed, packing)
    assert unpacked.dtype == (np.int8 if bits < 8 else np.int16)
    np.testing.assert_array_equal(unpacked, codes)


def test_two_bits_lie_as_documented():
    packed, packing = pack(np.array([-3, -1, 1, 3, 3], np.int8))
    assert packing.bits == 2
    assert packed.tolist() == [0b11100100, 0b11]


def test_masked_codes_keep_their_zeros():
    codes = np.array([[-3, 0, 3], [1, 0, -1]], np.int8)
    packed, packing = pack(codes)
    assert packing == Packing(3, -3, 1, (2, 3))
    np.testing.assert_array_equal(unpack(packed, packing), codes)


@pytest.mark.parametrize("codes", [np.zeros((4,), np.int8), np.full((4,), 2, np.int8)])
def test_one_value_takes_a_bit(codes):
    packed, packing = pack(codes)
    assert packing.bits == 1
    np.testing.assert_array_equal(unpack(packed, packing), codes)


def test_floats_are_refused():
    with pytest.raises(TypeError, match="codes must be of an integer dtype, got float32"):
        pack(np.ones(3, np.float32))
