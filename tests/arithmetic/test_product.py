import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, PartitionSpec

from n2uq_jax.arithmetic.matmul import DotProduct
from n2uq_jax.arithmetic.product import multiply_codes, scaled_product
from n2uq_jax.quantizers import QArray

AXES = (((1,), (0,)), ((), ()))
X, W = jnp.array([[0.0, 1, 2], [3, 2, 1]]), jnp.array([[1.0, -3], [3, -1], [-1, 1]])
SUMS, DX, DW = X @ W, jnp.ones((2, 2)) @ W.T, X.T @ jnp.ones((2, 2))


@pytest.mark.parametrize("operands", ["float32", "bfloat16", "int8", "int32"])
def test_integer_casts_do_not_stop_gradients(operands):
    y, pull = jax.vjp(lambda x, w: multiply_codes(DotProduct(AXES, operands), x, w), X, W)
    np.testing.assert_array_equal(y, SUMS)
    for gradient, expected in zip(pull(jnp.ones((2, 2))), (DX, DW), strict=True):
        np.testing.assert_array_equal(gradient, expected)


def test_gradients_have_the_dtypes_of_the_codes():
    operation = DotProduct(AXES, "bfloat16")
    y, pull = jax.vjp(lambda x, w: multiply_codes(operation, x, w), X.astype(jnp.bfloat16), W)
    dx, dw = pull(jnp.ones((2, 2)))
    assert (y.dtype, dx.dtype, dw.dtype) == (jnp.float32, jnp.bfloat16, jnp.float32)


def test_nan_passes_in_float_types():
    x = X.at[0, 0].set(jnp.nan)
    for operands in ("float32", "bfloat16"):
        y = multiply_codes(DotProduct(AXES, operands), x, W)
        np.testing.assert_array_equal(np.isnan(y), [[True, True], [False, False]])


@pytest.mark.parametrize("operands", ["int8", "int32"])
def test_a_diverging_run_is_seen_in_integer_types(operands):
    x = X.at[1, 2].set(jnp.nan)
    operation = DotProduct(AXES, operands)
    y, pull = jax.vjp(lambda x, w: multiply_codes(operation, x, w), x, W)
    np.testing.assert_array_equal(np.isnan(y), [[False, False], [True, True]])
    np.testing.assert_array_equal(y[0], SUMS[0])
    assert np.isnan(pull(jnp.ones((2, 2)))[1]).any()
    evaluation = str(jax.make_jaxpr(lambda x: multiply_codes(operation, x, W))(x))
    assert " ne " not in evaluation  # nothing is looked for


def test_barrier_in_evaluation_alone():
    def evaluate(x, w):
        return multiply_codes(DotProduct(AXES), x, w)

    assert "optimization_barrier" in str(jax.make_jaxpr(evaluate)(X, W))
    training = jax.make_jaxpr(jax.grad(lambda x, w: evaluate(x, w).sum()))(X, W)
    assert "optimization_barrier" not in str(training)


def test_one_rounding_after_the_exact_sum():
    x, w = (QArray(v, jnp.asarray(s), 3) for v, s in ((X, 0.1), (W, [0.3, 0.7])))
    y = jax.jit(scaled_product, static_argnums=0)(DotProduct(AXES), x, w)
    scale = np.float32(0.1) * np.float32([0.3, 0.7])
    np.testing.assert_array_equal(y, np.asarray(SUMS) * scale)


def test_shard_map_sums_the_kernel_gradient():
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(AxisType.Auto,))

    def total(x, w):
        return lax.psum(multiply_codes(DotProduct(AXES, "int8"), x, w).sum(), "batch")

    specs = (PartitionSpec("batch"), PartitionSpec())
    sharded = jax.shard_map(total, mesh=mesh, in_specs=specs, out_specs=PartitionSpec())
    np.testing.assert_array_equal(jax.grad(sharded, argnums=1)(X, W), DW)
