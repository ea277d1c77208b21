"""Shapes in public signatures are true: they hold in calls that are right, and fail in others."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from beartype import beartype
from jaxtyping import TypeCheckError, jaxtyped

import n2uq_jax.quantizers as q
from n2uq_jax import arithmetic
from n2uq_jax.isolation import boundary, tagged
from n2uq_jax.quantizers.segment_sums import segment_sums
from n2uq_jax.training.losses import classification_loss
from n2uq_jax.workdir.accuracy import in_top_k


def checked(function):
    """The function, with the shapes of its signature checked in each call."""
    return jaxtyped(getattr(function, "fun", function), typechecker=beartype)


def array(*shape, dtype=jnp.float32):
    return jnp.asarray(np.full(shape, 0.5), dtype)


def codes(*shape):
    return q.QArray(array(*shape), array(), 3)


LABELS = jnp.asarray(np.zeros(2, np.int32))
SEGMENTS = array(2, 3), array(2, 3), array(4), array()

RIGHT = [
    (q.quantize_activation, (array(2, 5), array(), array(3), array(), array())),
    (q.quantize_activation, (array(2, 5), array(1), array(3), array(1), array(1))),
    (q.quantize_activation, (array(2, 5), array(5), array(3, 5), array(5), array())),
    (q.quantize_activation, (array(2, 5, dtype=jnp.bfloat16), array(), array(1), array(), array())),
    (q.quantize_weight, (array(3, 3, 2, 4), 2)),
    (q.quantize_pact, (array(2, 3), array(), 2)),
    (q.quantize_pact, (array(), array(1), 2)),
    (q.effective_intervals, (array(3, 5),)),
    (q.knots, (array(), array(3))),
    (q.knots, (array(), array(3, 5))),
    (q.knots, (array(5), array(3, 5))),
    (q.thresholds, (array(5), array(3, 5))),
    (segment_sums, SEGMENTS),
    (segment_sums, (array(2, 3), array(2, 3), array(4, 3), array(3))),
    (arithmetic.quantized_matmul, (codes(2, 4, 3), codes(3, 5))),
    (arithmetic.quantized_matmul, (array(3), codes(3, 5))),
    (boundary, (jnp.ones((2, 3), jnp.int32),)),
    (tagged, (array(2, 3), "codes/3")),
    (classification_loss, (array(2, 3), LABELS)),
    (classification_loss, (array(2, 3), LABELS, array(2, 3, dtype=jnp.bfloat16))),
    (in_top_k, (array(2, 3), LABELS, 5)),
]

WRONG = [
    (classification_loss, (array(2, 3), jnp.zeros(3, jnp.int32))),
    (classification_loss, (array(2, 3), LABELS, array(2, 4))),
    (in_top_k, (array(3), LABELS, 5)),
    (q.quantize_activation, (array(2, 5), array(4), array(3, 5), array(), array())),
    (q.quantize_activation, (array(2, 5), array(), array(3, 4), array(), array())),
    (q.quantize_activation, (array(2, 5), array(), array(3), array(), array(2))),
    (q.quantize_activation, (jnp.ones(5, jnp.int8), array(), array(3), array(), array())),
    (q.quantize_weight, (jnp.ones((2, 3), jnp.int32), 2)),
    (q.quantize_pact, (array(2, 3), array(2), 2)),
    (q.knots, (array(4), array(3, 5))),
    (q.thresholds, (array(3, 5), array(3))),
    (segment_sums, (array(2, 3), array(2, 4), array(4), array())),
    (arithmetic.quantized_matmul, (jnp.ones((2, 3), bool), codes(3, 5))),
]


@pytest.mark.parametrize(("function", "arguments"), RIGHT)
def test_right_shapes_pass_and_so_does_the_result(function, arguments):
    checked(function)(*arguments)


@pytest.mark.parametrize(("function", "arguments"), WRONG)
def test_wrong_shapes_are_caught(function, arguments):
    with pytest.raises(TypeCheckError):
        checked(function)(*arguments)


def test_convolutions():
    run = checked(arithmetic.quantized_conv)
    w = codes(3, 3, 4, 2)
    assert run(codes(1, 6, 5, 4), w, strides=(1, 1), padding="SAME").shape == (1, 6, 5, 2)
    assert run(array(1, 6, 5, 4), w, strides=(2, 1), padding="VALID").shape == (1, 2, 3, 2)
    with pytest.raises(TypeCheckError):
        run(jnp.ones((1, 6, 5, 4), jnp.int8), w, strides=(1, 1), padding="SAME")


def test_dequantized_values_have_the_shape_of_the_codes():
    dequantize = checked(q.QArray.dequantize)
    for scale in (array(), array(3)):
        assert dequantize(q.QArray(array(2, 3), scale)).shape == (2, 3)


def test_the_package_does_not_need_jaxtyping():
    program = (
        "import sys; sys.modules['jaxtyping'] = None\n"
        "import jax, n2uq_jax.quantizers as q\n"
        "from n2uq_jax.shapes import Array, Float\n"
        "print(q.quantize_weight(jax.numpy.ones((2, 3)), 2).shape, Float[Array, '2 3'])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.startswith("(2, 3) typing.Annotated[jax"), done.stderr
