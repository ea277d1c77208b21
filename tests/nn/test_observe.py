import jax.numpy as jnp
import numpy as np
from flax import nnx

from n2uq_jax.nn import ActivationQuantizer, quantizer_inputs, quantizers


class Net(nnx.Module):
    def __init__(self):
        self.blocks = nnx.List([ActivationQuantizer(1), ActivationQuantizer(2)])
        self.unused = ActivationQuantizer(3)

    def __call__(self, x, twice=True):
        x = self.blocks[0](x).dequantize()
        x = self.blocks[1](x + 1).dequantize()
        return self.blocks[1](3 * x).dequantize() if twice else x


def test_quantizers_are_found_by_path():
    model = Net()
    found = quantizers(model)
    assert list(found) == ["blocks/0", "blocks/1", "unused"]
    assert found["blocks/1"] is model.blocks[1]


def test_inputs_are_those_of_each_call_in_order():
    model, x = Net(), jnp.array([0.5, 1.5])
    inputs = quantizer_inputs(model, x)
    assert set(inputs) == {"blocks/0", "blocks/1"}
    np.testing.assert_array_equal(inputs["blocks/0"], [x])
    # Codes 0 and 1 of one bit stand for 0 and 2. Then 1, at a threshold, has the code 1: 2/3.
    np.testing.assert_allclose(inputs["blocks/1"], [[1, 3], [2, 6]], rtol=1e-6)
    once = quantizer_inputs(model, x, lambda model, x: model(x, twice=False))
    assert len(once["blocks/1"]) == 1
    assert not nnx.state(model, nnx.Intermediate)
