import pytest

import n2uq_jax as n2uq


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((3,), TypeError, "path must be a regular expression as a string, got 3"),
        (("conv[", 2), ValueError, r"path must be a regular expression, got 'conv\['"),
        (("conv", 9), ValueError, "w_bits must be from 1 to 8, got 9"),
        (("conv", 2, 2.0), TypeError, "a_bits must be an int from 1 to 8, got 2.0"),
        (("conv", None, 2), ValueError, "w_bits must be given with a_bits=2"),
        (("conv", True), TypeError, "w_bits must be an int from 1 to 8, got True"),
        (("conv", 2, 2, "yes"), TypeError, "signed must be True, False or None, got 'yes'"),
        (("conv", 2, 2, None, "x"), TypeError, "per_channel must be True or False, got 'x'"),
        (("conv", 2, 2, None, False, "foo"), ValueError, "operands must be None, .* got 'foo'"),
    ],
)
def test_a_bad_rule_is_an_error(arguments, error, message):
    with pytest.raises(error, match=message):
        n2uq.Rule(*arguments)


def test_a_rule_matches_whole_paths():
    rule = n2uq.Rule(r"blocks/\d+/conv")
    assert rule.matches("blocks/10/conv")
    assert not rule.matches("blocks/10/conv1")
    assert not rule.matches("net/blocks/10/conv")


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        ("conv1", True),
        ("fc|conv1", True),
        ("(?:conv1|fc)", True),
        (".*", False),
        (r"conv\d", False),
    ],
)
def test_a_rule_names_a_path_that_it_spells_out(pattern, named):
    assert n2uq.Rule(pattern).matches("conv1")
    assert n2uq.Rule(pattern).names("conv1") == named
