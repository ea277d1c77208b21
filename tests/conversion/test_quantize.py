import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import n2uq_jax as n2uq
from tests.conversion.models import CNN, Scanned, Shared, ViT, images


def quantized(model, **bits):
    return n2uq.quantize(model, [n2uq.Rule(".*", **(bits or {"w_bits": 4, "a_bits": 4}))])


def test_parameters_are_copied_and_the_original_is_untouched():
    model = CNN(nnx.Rngs(0))
    before = jax.tree.map(jnp.copy, nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    result = quantized(model)
    assert isinstance(result, CNN)
    assert type(result.conv2) is n2uq.nn.QuantConv
    assert type(result.linear1) is n2uq.nn.QuantLinear
    assert type(model.conv2) is nnx.Conv
    for path, value in nnx.to_flat_state(nnx.state(model, nnx.Param)):
        copied = result
        for name in path:
            copied = getattr(copied, name)
        np.testing.assert_array_equal(copied[...], value[...])
    result.conv2.kernel[...] += 1
    after = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_a_quantized_layer_computes_what_the_layer_of_that_class_does():
    model = CNN(nnx.Rngs(0))
    result = quantized(model, w_bits=3, a_bits=2)
    layer = n2uq.nn.QuantLinear(32, 16, w_bits=3, a_bits=2, rngs=nnx.Rngs(0))
    layer.kernel[...], layer.bias[...] = model.linear1.kernel[...], model.linear1.bias[...]
    x = jax.random.uniform(jax.random.key(1), (5, 32), maxval=2.0)
    np.testing.assert_array_equal(result.linear1(x), layer(x))
    assert result.conv2.bias is None


@pytest.mark.slow
def test_eight_bit_weights_alone_change_little():
    model = ViT(nnx.Rngs(0), depth=1)
    result = quantized(model, w_bits=8)
    x = images(4)
    assert result.blocks[0].attention.query.input_quantizer is None
    difference = np.abs(result(x) - model(x)).max()
    assert 0 < difference < 0.2 * np.abs(model(x)).max()


def test_a_shared_layer_stays_shared():
    result = quantized(Shared(nnx.Rngs(0)))
    assert result.left is result.right
    assert len(n2uq.nn.quantizers(result)) == 1


def test_modules_in_tuples_and_dicts_are_replaced():
    class Nested(nnx.Module):
        def __init__(self, rngs):
            def layer():
                return nnx.Linear(2, 2, rngs=rngs)

            self.first, self.tuple, self.dict = layer(), nnx.data((layer(),)), nnx.Dict(a=layer())
            self.last = layer()

    result = quantized(Nested(nnx.Rngs(0)))
    assert type(result.tuple[0]) is n2uq.nn.QuantLinear
    assert type(result.dict.a) is n2uq.nn.QuantLinear
    assert type(result.first) is nnx.Linear


def test_metadata_of_a_kernel_is_kept():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.layer = nnx.Linear(2, 2, kernel_metadata={"role": "mine"}, rngs=rngs)

    result = n2uq.quantize(Net(nnx.Rngs(0)), [n2uq.Rule("layer", 2, 2)])
    assert result.layer.kernel.get_metadata()["role"] == "mine"


@pytest.mark.slow
def test_stacked_layers_get_stacked_quantizers():
    model = Scanned(nnx.Rngs(0))
    result = quantized(model)
    quantizer = result.hidden.input_quantizer
    assert quantizer.start.shape == (3,)
    assert quantizer.intervals.shape == (3, 15)
    x = jnp.abs(images(2)).reshape(2, -1)[:, :3]
    y = nnx.relu(model.stem(x))
    for i in range(3):
        layer = n2uq.nn.QuantLinear(4, 4, w_bits=4, a_bits=4, rngs=nnx.Rngs(0))
        layer.kernel[...] = model.hidden.kernel[...][i]
        y = nnx.relu(layer(y))
    np.testing.assert_allclose(result(x), model.head(y), rtol=1e-6)


def test_an_abstract_model_can_be_quantized():
    result = quantized(nnx.eval_shape(lambda: CNN(nnx.Rngs(0))))
    assert result.conv2.kernel.shape == (3, 3, 4, 8)
    assert type(result.conv2) is n2uq.nn.QuantConv


def test_the_result_trains():
    result = quantized(CNN(nnx.Rngs(0)))
    result.eval()
    graph, params, rest = nnx.split(result, nnx.Param, ...)

    @jax.jit
    def gradient(params):
        return jax.grad(lambda p: (nnx.merge(graph, p, rest)(images(4)) ** 2).sum())(params)

    grads = nnx.to_pure_dict(gradient(params))
    assert np.abs(grads["conv2"]["kernel"]).max() > 0
    assert np.abs(grads["linear1"]["input_quantizer"]["intervals"]).max() > 0
    labels = nnx.to_pure_dict(n2uq.optimizer_labels(params))
    assert set(labels["linear1"]["input_quantizer"].values()) == {"quantizer"}
    assert labels["linear1"]["kernel"] == "default"


def test_what_a_layer_cannot_do_is_an_error_that_names_it():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.mix = nnx.LinearGeneral(3, 3, axis=1, rngs=rngs)

    rules = [n2uq.Rule("mix", 2, 2, per_channel=True)]
    with pytest.raises(ValueError, match=r"mix: per_channel wants -1 in axis, got axis=\(1,\)"):
        n2uq.quantize(Net(nnx.Rngs(0)), rules)


def test_nothing_to_quantize_is_an_error_that_says_why():
    class Pair(nnx.Module):
        def __init__(self, rngs):
            self.a, self.b = (nnx.Linear(2, 2, rngs=rngs) for _ in range(2))

    with pytest.raises(ValueError, match=r"(?s)no layer.*a .*the first layer: no rule spells out"):
        quantized(Pair(nnx.Rngs(0)))
    with pytest.raises(ValueError, match=r"matches no layer; the layers are: none"):
        quantized(nnx.LayerNorm(2, rngs=nnx.Rngs(0)))
