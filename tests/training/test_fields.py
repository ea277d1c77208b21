import math

import pytest

from n2uq_jax.training.fields import Choice, Field, Flag, Integer, Names, Number, Steps, Text


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (Integer(1), [1, 7], [0, True, 1.0, "1", None]),
        (Integer(2, 8), [2, 8], [1, 9]),
        (Number(), [0, 0.5, 3], [-0.1, math.nan, math.inf, "1", True]),
        (Number(above=True), [0.1], [0]),
        (Number(0, 1), [0, 1], [1.5]),
        (Choice(("a", "b")), ["a"], ["c", None, 1]),
        (Flag(), [True, False], [0, "True", None]),
        (Text(), ["", "x"], [None, 3]),
        (Steps(), [(1, 1), [2, 5]], [(2, 1), (0, 1), (1,), (1, 2, 3), 4, (1, "2", 3)]),
        (Names(), [("a",), ["a", "b"]], [(), ("a", "a"), "a", (1,)]),
    ],
)
def test_a_kind_takes_its_values_and_says_what_is_wrong_with_others(kind, good, bad):
    assert [kind.fault(value) for value in good] == [None] * len(good)
    for value in bad:
        assert str(kind.fault(value)).startswith("must"), value
        assert "got" in kind.fault(value)


def test_words_say_the_range():
    assert Integer(0, 2**32 - 1).words == "an integer from 0 to 2**32 - 1"
    assert Integer(2, 8).words == "an integer from 2 to 8"
    assert Number(above=True).words == "a number above 0"


def test_none_is_for_optional_fields():
    assert Field("a", Text(), None, "", optional=True).fault(None) is None
    assert Field("a", Text(), "", "").fault(None) == "must be a string, got None"
    assert Field("a", Text(), None, "", optional=True).expected == "text, or None"
