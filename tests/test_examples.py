"""The examples in docstrings run and print what they say."""

import doctest

import pytest

import n2uq_jax as n2uq


@pytest.mark.parametrize(
    "documented",
    [
        n2uq.quantizers.quantize_activation,
        n2uq.quantizers.quantize_weight,
        n2uq.nn.QuantConv,
        n2uq.quantize,
        n2uq.calibrate,
    ],
    ids=lambda documented: documented.__name__,
)
def test_example(documented):
    finder = doctest.DocTestFinder(recurse=False)
    (example,) = finder.find(documented, documented.__name__, globs={})
    assert example.examples
    results = doctest.DocTestRunner().run(example)
    assert results.failed == 0
    assert results.attempted == len(example.examples)
