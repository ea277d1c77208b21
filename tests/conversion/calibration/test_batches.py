import jax.numpy as jnp
import numpy as np
import pytest

from n2uq_jax.conversion.calibration.batches import inputs_of, joined, naming_the_batch

X = np.arange(6.0).reshape(3, 2)


def test_inputs_are_the_first_of_each_batch():
    inputs = list(inputs_of([X, (X + 1, "labels"), [X + 2, None]]))
    for i, x in enumerate(inputs):
        np.testing.assert_array_equal(x, X + i)
    assert len(inputs) == 3
    assert len(list(inputs_of(iter([X])))) == 1


def test_batches_of_different_sizes_are_joined():
    np.testing.assert_array_equal(joined([X, X[:1]]), [*X, X[0]])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([jnp.ones(()), X], "batch 0 is a scalar"),
        ([X, X[0]], r"batch 1 has shape \(2,\), and batch 0 \(3, 2\)"),
        ([X, X[:, :1]], r"batch 1 has shape \(3, 1\), and batch 0 \(3, 2\)"),
    ],
)
def test_shapes_that_do_not_join_are_errors(inputs, message):
    with pytest.raises(ValueError, match=message):
        joined(inputs)


def test_an_error_of_the_model_says_what_it_was_run_on():
    for kind in (TypeError, ValueError):
        with (
            pytest.raises(kind, match=r"no. \(The model was run on batches of shape \(3, 2\)"),
            naming_the_batch(X),
        ):
            raise kind("no.")
    with pytest.raises(ZeroDivisionError), naming_the_batch(X):
        raise ZeroDivisionError
