import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from n2uq_jax import models
from n2uq_jax.nn import LSQ, PACT, DoReFa, QuantConv


@functools.cache
def abstract(name, **kwargs):
    return nnx.eval_shape(lambda: models.create(name, rngs=nnx.Rngs(0), **kwargs))


def output_shape(model, images):
    graph, state = nnx.split(model)
    forward = lambda state, x: nnx.merge(graph, state, copy=True)(x)  # noqa: E731
    return jax.eval_shape(forward, state, jax.ShapeDtypeStruct(images, jnp.float32)).shape


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("resnet8", 3),
        ("resnet18", 1),
        pytest.param("resnet50", 3, marks=pytest.mark.slow),
        ("mobilenet_v2_small", 1),
        pytest.param("mobilenet_v2", 1, marks=pytest.mark.slow),
        ("torchvision/resnet18", 1),
    ],
)
def test_images_of_any_size_become_logits(name, channels):
    model = abstract(name, num_classes=7, in_features=channels)
    assert output_shape(model, (1, 75, 51, channels)) == (1, 7)


@pytest.mark.parametrize(
    "name",
    ["resnet8", *(pytest.param(n, marks=pytest.mark.slow) for n in ("resnet50", "mobilenet_v2"))],
)
def test_bit_widths_of_weights_and_activations_differ(name):
    model = abstract(name, w_bits=3, a_bits=5)
    layers = [layer for _, layer in nnx.iter_modules(model) if isinstance(layer, QuantConv)]
    assert {layer.w_bits for layer in layers} == {3}
    assert {layer.input_quantizer.bits for layer in layers if layer.a_bits} == {5}
    pacts = [layer for _, layer in nnx.iter_modules(model) if isinstance(layer, PACT)]
    assert [pact.bits for pact in pacts] == ([5] if name == "mobilenet_v2" else [])


@pytest.mark.parametrize(
    ("method", "name"), [("lsq", "mobilenet_v2_small"), ("pact", "resnet8"), ("dorefa", "resnet8")]
)
def test_every_quantizer_of_a_network_is_of_its_method(method, name):
    model = abstract(name, w_bits=2, a_bits=3, method=method)
    kind = {"lsq": LSQ, "pact": PACT, "dorefa": DoReFa}[method]
    layers = [layer for _, layer in nnx.iter_modules(model) if isinstance(layer, QuantConv)]
    quantizers = [layer.input_quantizer for layer in layers if layer.a_bits]
    assert {layer.method for layer in layers} == {method}
    if name == "mobilenet_v2_small":
        quantizers.append(model.last_activation)
    assert {type(quantizer) for quantizer in quantizers} == {kind}


def test_float_shortcuts():
    model = abstract("resnet18", w_bits=2, a_bits=2, quantize_downsample=False)
    shortcuts = [stage[0].shortcut for stage in list(model.stages)[1:]]
    assert [type(shortcut.conv) for shortcut in shortcuts] == [nnx.Conv] * 3


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2_small"])
def test_the_float_twin_has_the_parameters_of_the_network_but_the_quantizers(name):
    def paths(model):
        return {"/".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(model))}

    quantized = paths(abstract(name, w_bits=3, a_bits=5))
    twin = paths(abstract(name, num_classes=7, in_features=1))
    assert twin < quantized
    assert all("input_quantizer" in p or p.endswith("/clip") for p in quantized - twin)


def test_a_network_can_be_a_static_argument():
    first, second = (
        nnx.split(make("mobilenet_v2_small", w_bits=3, a_bits=5))[0]
        for make in (abstract, abstract.__wrapped__)
    )
    assert first is not second
    assert hash(first) == hash(second)


def test_names_are_those_of_the_documentation():
    paper = {"resnet18", "resnet34", "resnet50", "mobilenet_v2"}
    small = {"resnet8", "resnet14", "resnet20", "resnet32", "resnet44", "resnet56"}
    theirs = {f"torchvision/{name}" for name in (*paper, "resnet101")}
    assert set(models.names()) == paper | small | {"mobilenet_v2_small"} | theirs


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"name must be one of resnet18, .*; got 'resnet19'"):
        models.create("resnet19", rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="must be None for the float network 'torchvision/resnet"):
        models.create("torchvision/resnet18", w_bits=2, a_bits=2, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="w_bits must be from 2 to 4 with method='pact', got 8"):
        models.create("resnet8", w_bits=8, a_bits=8, method="pact", rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="must both be given"):
        models.create("mobilenet_v2", w_bits=2, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "torchvision/resnet50"])
@pytest.mark.parametrize("argument", ["width", "stem_stride", "widht"])
def test_arguments_a_network_does_not_take_are_named(name, argument):
    message = rf"'{name}' does not take {argument}\. .* it takes in_features\."
    with pytest.raises(TypeError, match=message):
        models.create(name, rngs=nnx.Rngs(0), **{argument: 8})


def test_an_unknown_argument_of_a_small_network_is_told_what_it_takes():
    with pytest.raises(TypeError, match=r"does not take depth\..*in_features, width, stem_stride"):
        models.create("resnet8", depth=8, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("argument", ["width", "stem_stride", "num_classes", "in_features"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, None])
def test_sizes_below_one_are_refused(argument, value):
    message = rf"{argument} must be an integer of at least 1, got {value}"
    with pytest.raises(ValueError, match=message):
        models.create("resnet8", rngs=nnx.Rngs(0), **{argument: value})


@pytest.mark.parametrize(("name", "features"), [("resnet8", 16), ("mobilenet_v2_small", 64)])
def test_width_and_stride_of_a_small_network(name, features):
    model = abstract(name, width=np.int64(4), stem_stride=2)
    assert model.conv.kernel.shape == (3, 3, 3, 4)
    assert model.conv.strides == (2, 2)
    assert model.head.kernel.shape == (features, 1000)
    assert output_shape(model, (1, 9, 12, 3)) == (1, 1000)


def test_the_small_mobilenet_has_an_integer_only_form():
    integer, paper = (
        abstract("mobilenet_v2_small", w_bits=2, a_bits=2, width=4, integer_only=integer_only)
        for integer_only in (True, False)
    )
    assert integer.shape == paper.shape
    depthwise = integer.blocks[1].units[1].conv
    assert (depthwise.feature_group_count, depthwise.w_bits) == (24, 2)
