import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from n2uq_jax.nn import LSQ, DoReFa, LSQWeight
from n2uq_jax.quantizers import quantize_dorefa, quantize_lsq, quantize_lsq_weight


def test_layers_are_the_functions_with_their_parameters():
    x = jnp.array([[-0.8, 0.1, 0.4, 3.0]])
    for layer, function in [
        (LSQ(2), lambda step: quantize_lsq(x, step, 2)),
        (LSQ(3, signed=True), lambda step: quantize_lsq(x, step, 3, signed=True)),
        (LSQWeight(3), lambda step: quantize_lsq_weight(x, step, 3)),
    ]:
        layer.step[...] = jnp.float32(0.3)
        np.testing.assert_array_equal(layer(x).dequantize(), function(0.3).dequantize())
    np.testing.assert_array_equal(DoReFa(2)(x).codes, quantize_dorefa(x, 2).codes)
    assert not nnx.to_flat_state(nnx.state(DoReFa(2)))


def test_new_steps_reach_to_2():
    assert LSQ(2)(jnp.array([2.0])).dequantize() == 2
    assert LSQ(3, signed=True, param_dtype=jnp.float16).step.dtype == jnp.float16


def test_the_step_of_weights_starts_from_the_kernel_of_each_layer_of_a_stack():
    kernel = jnp.stack([jnp.full((4, 2), 0.5), jnp.full((4, 2), -2.0)])
    layer = LSQWeight(2)
    layer.start(kernel[0], 2)
    assert layer.step[...] == 1  # 2 * 0.5 / sqrt(1)
    layer.start(kernel, 2)
    np.testing.assert_array_equal(layer.step[...], [1, 4])


def test_bits_are_checked():
    with pytest.raises(ValueError, match="bits must be from 1 to 8, got 9"):
        DoReFa(9)
    with pytest.raises(ValueError, match="bits must be from 2 to 8 for signed"):
        LSQWeight(1)
