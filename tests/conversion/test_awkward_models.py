"""Models that share, scan, vmap, make layers late or have none to quantize: all of the way."""

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import n2uq_jax as n2uq
from n2uq_jax.conversion.linen import calibrate, take_over
from n2uq_jax.export import export_model
from n2uq_jax.nn.linen import Dense
from tests.conversion.models import Ensemble, Lazy, ScannedNorm, Shared, images


def quantized(model, a_bits=4, **kwargs):
    layer = r"(.*/)?(hidden|members|left)(/.*)?"
    return n2uq.quantize(model, [n2uq.Rule(layer, w_bits=8, a_bits=a_bits, **kwargs)])


def export(model, tmp_path):
    return export_model(model, tmp_path / "a", image_shape=(8, 8, 1), images=np.asarray(images(8)))


class OnPixels(nnx.Module):
    def __init__(self, inner):
        self.inner = inner

    def __call__(self, x):
        return self.inner(x.reshape(x.shape[0], -1)[:, :3])


@pytest.mark.slow  # calibrates and exports
def test_a_shared_layer_is_one_quantizer_through_calibration_and_export(tmp_path):
    model = quantized(OnPixels(Shared(nnx.Rngs(0))))
    assert list(n2uq.calibrate(model, [images(8)])) == ["inner/left/input_quantizer"]
    assert model.inner.left is model.inner.right
    result = export(model, tmp_path)
    assert result.proof.ok
    assert list(result.proof.data.layers) == [f"inner/left/input_quantizer{n}" for n in ("", "#2")]
    assert [n for n in result.program.tensors if n.endswith("kernel") and "left" in n] == []


@pytest.mark.slow
def test_batch_norm_inside_a_scan_is_reestimated():
    model = quantized(ScannedNorm(nnx.Rngs(0)), signed=False)
    n2uq.calibrate(model, [images(16)])
    norm = model.hidden.layers[1]
    assert norm.mean.shape == (2, 4)
    x = nnx.relu(model.stem(images(16).reshape(16, -1)))
    for i in range(2):
        layer, block_norm = nnx.clone(model.hidden.layers[0]), nnx.BatchNorm(4, rngs=nnx.Rngs(0))
        nnx.update(layer, jax.tree.map(lambda v, i=i: v[i], nnx.state(layer)))
        x = layer(x)
        np.testing.assert_allclose(norm.mean[i], x.mean(0), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(norm.var[i], x.var(0), rtol=1e-4)
        x = nnx.relu(block_norm(x))


@pytest.mark.slow
def test_layers_inside_a_scan_are_not_exported(tmp_path):
    model = quantized(ScannedNorm(nnx.Rngs(0)), signed=False)
    with pytest.raises(ValueError, match=r"runs inside a scan, .* export a model that calls its l"):
        export(model, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_members_under_vmap_are_calibrated_and_exported(tmp_path):
    x = 4 * images(32)
    model, target = (quantized(Ensemble(nnx.Rngs(0)), a_bits=bits) for bits in (4, None))
    assert model.members.input_quantizer.intervals.shape == (3, 15)
    before = jnp.mean((model(x) - target(x)) ** 2)
    n2uq.calibrate(model, [x])
    assert jnp.mean((model(x) - target(x)) ** 2) < 0.05 * before
    result = export(model, tmp_path)
    assert result.proof.ok
    assert result.proof.data.differing_top1 == 0


@pytest.mark.slow
def test_layers_that_do_not_exist_yet_are_an_error_that_says_so(tmp_path):
    message = r"makes parameters when it is called: head/bias, head/kernel\. Call it on an example"
    model = Lazy(nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"matches no layer; .*makes in its first call are there"):
        n2uq.quantize(model, [n2uq.Rule("head", 4, 4)])
    early = quantized(model)
    before = nnx.to_pure_dict(nnx.state(early, nnx.Param))
    with pytest.raises(ValueError, match=message):
        n2uq.calibrate(early, [images(8)])
    with pytest.raises(ValueError, match=message):
        n2uq.reestimate_batch_norm(early, [images(8)])
    with pytest.raises(ValueError, match=message):
        export(early, tmp_path)
    after = nnx.to_pure_dict(nnx.state(early, nnx.Param))
    jax.tree.map(np.testing.assert_array_equal, before, after)


@pytest.mark.slow
def test_a_lazy_model_works_after_its_first_call(tmp_path):
    model = Lazy(nnx.Rngs(0))
    model(images(1))
    late = quantized(model)
    n2uq.calibrate(late, [images(8)])
    n2uq.reestimate_batch_norm(late, [images(16)])
    assert export(late, tmp_path).proof.ok


class LateLinen(linen.Module):
    """Linen finds out its shapes in ``init`` anyway."""

    dense: Any = linen.Dense

    @linen.compact
    def __call__(self, x):
        x = linen.relu(linen.Dense(8)(x.reshape(x.shape[0], -1)))
        return linen.Dense(3)(linen.relu(self.dense(x.shape[-1] // 2)(x)))


@pytest.mark.slow
def test_linen_shapes_are_lazy_anyway(tmp_path):
    trained = LateLinen().init(jax.random.key(0), images(1))
    model = LateLinen(dense=functools.partial(Dense, w_bits=8, a_bits=4))
    variables = take_over(model.init(jax.random.key(1), images(1)), trained)
    variables = calibrate(model, variables, [images(32)])
    np.testing.assert_allclose(
        model.apply(variables, images(32)), LateLinen().apply(trained, images(32)), atol=0.2
    )
    assert export((model.apply, variables), tmp_path).proof.ok


class Normalize(nnx.Module):
    def __init__(self):
        self.norm = nnx.LayerNorm(1, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.norm(x).mean((1, 2))


@pytest.mark.parametrize(
    ("convert", "message"),
    [
        (lambda model, _: quantized(model), "matches no layer; the layers are: none"),
        (lambda model, _: n2uq.calibrate(model, [images(2)]), "call n2uq_jax.quantize first"),
        (
            lambda model, _: n2uq.reestimate_batch_norm(model, [images(2)]),
            "has no nnx.BatchNorm: there are no running statistics",
        ),
        (export, "has no quantized layer: there is nothing to export"),
        (
            lambda *_: calibrate(linen.Dense(1), linen.Dense(1).init(*KEY_AND_X), KEY_AND_X[1:]),
            "no ActivationQuantizer of n2uq_jax.nn.linen was run",
        ),
    ],
    ids=["quantize", "calibrate", "reestimate", "export", "linen"],
)
def test_nothing_to_quantize_is_an_error_at_every_step(convert, message, tmp_path):
    with pytest.raises(ValueError, match=re.escape(message)):
        convert(Normalize(), tmp_path)
    assert list(tmp_path.iterdir()) == []


KEY_AND_X = (jax.random.key(0), jnp.ones((2, 3)))


def test_code_that_wants_a_batch_size_is_an_error_that_says_so(tmp_path):
    class Python(nnx.Module):
        def __init__(self):
            self.layer = n2uq.nn.QuantLinear(64, 3, w_bits=2, a_bits=2, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.layer(x.reshape(len(x), -1))

    with pytest.raises(ValueError, match=r"write x.shape\[0\] instead of len\(x\)"):
        export(Python(), tmp_path)
    assert list(tmp_path.iterdir()) == []
