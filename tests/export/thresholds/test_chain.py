import numpy as np
import pytest

from n2uq_jax.export.thresholds.chain import compile_chain
from tests.export import dense_network


@pytest.fixture(scope="module")
def compile_with():
    """Compiles the chain of the network with some of its parameters replaced."""
    _, traced, parameters = dense_network.built()
    network = traced.at_sampling_batch()

    def compiled(**replaced):
        changed = {f"dense/{name}": array for name, array in replaced.items()}
        constants = traced.constants({**parameters, **changed})
        return compile_chain(network, network.quantizers[0], constants)

    return compiled


def test_every_integer_of_every_channel_has_the_networks_code(compile_with):
    chain = compile_with()
    assert chain.name == "head"
    assert chain.size == 1024
    assert chain.low.tolist() == [-255, -765, 0]
    assert chain.high.tolist() == [510, 1275, 255]
    assert (chain.span, chain.values) == (2041, 766 + 2041 + 256)
    parts = list(chain.enumerate())
    assert len(parts) == 2
    sums, codes = (np.concatenate(part) for part in zip(*parts, strict=True))
    for channel in range(3):
        expected = range(chain.low[channel], chain.high[channel] + 1)
        assert sorted(set(sums[:, channel].tolist())) == list(expected)
    np.testing.assert_array_equal(codes, dense_network.codes_of(sums))
    assert set(codes[:, 0].tolist()) == set(codes[:, 1].tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize("n", [1, 1025])
def test_some_integers(compile_with, n):
    chain = compile_with()
    sums = np.random.default_rng(n).integers(chain.low, chain.high + 1, (n, 3))
    codes = chain.at(sums)
    assert codes.dtype == np.int16
    np.testing.assert_array_equal(codes, dense_network.codes_of(sums), strict=False)


def test_parameters_are_arguments(compile_with):
    chain = compile_with(bias=np.float32([9, -9, 0.3]))
    assert chain.at(np.zeros((1, 3), np.int64)).tolist() == [[3, 0, 2]]


def test_directions_follow_the_gain(compile_with):
    np.testing.assert_array_equal(compile_with().directions(), [1, -1, 0])


def test_nan_names_the_quantizer(compile_with):
    chain = compile_with(bias=np.float32([0, np.nan, 0]))
    with pytest.raises(ValueError, match="head has NaN codes: a parameter in front of it"):
        chain.at(np.zeros((1, 3), np.int64))
    with pytest.raises(ValueError, match="head has NaN codes"):
        list(chain.enumerate())
