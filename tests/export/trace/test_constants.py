import jax.numpy as jnp
import numpy as np
import pytest

from n2uq_jax.export.trace.constants import Names, check_finite, compute_constants, unique
from n2uq_jax.export.trace.reference import evaluation_function
from n2uq_jax.export.trace.tracing import trace
from tests.export.integer_network import network, parameters, pixels


@pytest.fixture(scope="module")
def traced():
    function, flat = evaluation_function((network, parameters()))
    return trace(function, flat, pixels(2)), flat


def test_integers_that_the_data_meet_have_names(traced):
    names = Names(traced[0])
    assert set(names.products.values()) == {"stem", "block#2", "head#2"}
    assert set(names.quantizers.values()) == {"block", "head"}
    wanted = {"block/multiplier", "stem/multiplier", "stem/weight", "block#2/weight"}
    assert wanted <= set(names.constants)
    # Behind the broadcast over positions.
    assert names.constants["block/multiplier"].shape == (8,)


def test_constants_are_what_the_network_computes(traced):
    graph, flat = traced
    constants = compute_constants(graph, Names(graph), flat)
    gain = parameters()["block"]["gain"]
    np.testing.assert_array_equal(constants["block/multiplier"], np.round(gain * np.float32(99)))
    assert constants["block/multiplier"].dtype == np.int32
    weight = constants["block#2/weight"]
    assert weight.dtype == np.int8
    assert set(np.unique(weight)) == {-3, -1, 1, 3}


def test_names_are_numbered():
    taken = {"a"}
    assert [unique("a", taken), unique("a", taken), unique("b", taken)] == ["a#2", "a#3", "b"]
    assert taken == {"a", "a#2", "a#3", "b"}


def test_what_is_not_finite_is_named():
    parameters = {"a": jnp.ones(3), "b": jnp.float32([1, np.nan]), "c": jnp.int32([1])}
    check_finite(parameters, ["a", "c"])
    with pytest.raises(ValueError, match="finite parameters; b has NaN or infinity"):
        check_finite(parameters, ["a", "b", "c"])
    many = {f"p{i}": jnp.float32(np.inf) for i in range(8)}
    with pytest.raises(ValueError, match=r"p0, p1, p2, p3, p4 and 3 more has NaN"):
        check_finite(many, many)
