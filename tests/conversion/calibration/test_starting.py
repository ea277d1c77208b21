import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import n2uq_jax as n2uq
from n2uq_jax.conversion.calibration.starting import start
from n2uq_jax.nn import LSQ, PACT, DoReFa, QuantLinear


def test_lsq_starts_as_its_paper_says_and_takes_the_better_sign():
    quantizer = LSQ(2, signed=None)
    samples = jnp.array([-2.0, -1.0, 1.0, 2.0])
    chosen = start(quantizer, samples, (False, True))
    assert quantizer.signed is True
    assert (chosen.method, chosen.signed, chosen.error) == ("published", True, None)
    assert quantizer.step[...] == 2 * 1.5
    start(quantizer, samples, (False,))
    np.testing.assert_allclose(quantizer.step[...], 2 * 0.75 / np.sqrt(3), rtol=1e-6)


def test_pact_starts_at_the_range_of_smallest_error_and_dorefa_nowhere():
    quantizer = PACT(2, detach_scale=True)
    assert start(quantizer, jnp.array([0.0, 0.5, 1.0, 1.5] * 8)).method == "step"
    np.testing.assert_allclose(quantizer.clip[...], 1.5, rtol=1e-5)
    assert start(DoReFa(2), jnp.ones(3)).method == "published"


@pytest.mark.parametrize("method", ["lsq", "pact", "dorefa"])
def test_calibrate_sets_every_method_in_the_order_of_the_network(method):
    model = nnx.Sequential(
        *(
            QuantLinear(8, 8, w_bits=2, a_bits=2, signed=s, method=method, rngs=nnx.Rngs(i))
            for i, s in enumerate((None, False))
        )
    )
    first, second = model.layers
    first.kernel[...] = 2 * first.kernel[...]  # as if it had been trained
    x = jnp.linspace(0, 4, 64).reshape(8, 8)
    chosen = n2uq.calibrate(model, [x])
    assert list(chosen) == ["layers/0/input_quantizer", "layers/1/input_quantizer"]
    assert first.input_quantizer(x).codes.max() >= 2
    if method == "lsq":
        np.testing.assert_allclose(first.input_quantizer.step[...], 4 / np.sqrt(3), rtol=1e-5)
        expected = 2 * jnp.abs(first.kernel[...]).mean()
        np.testing.assert_allclose(first.weight_quantizer.step[...], expected, rtol=1e-6)
        # The second sees what the first, quantized, makes of the data.
        reached = 2 * nnx.relu(first(x)).mean() / np.sqrt(3)
        np.testing.assert_allclose(second.input_quantizer.step[...], reached, rtol=1e-5)
