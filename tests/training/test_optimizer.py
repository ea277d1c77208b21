import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import n2uq_jax as n2uq
from n2uq_jax.models.resnet import ResNet, ResNetShape
from n2uq_jax.paths import by_path
from n2uq_jax.training.config import stage_config
from n2uq_jax.training.optimizer import (
    learning_rate_schedule,
    make_optimizer,
    slow_group_labels,
)


def rates(steps_per_epoch=10, epochs=4, **changes):
    stage = stage_config(quantized=True, epochs=epochs, learning_rate=0.8, **changes)
    total = round(steps_per_epoch * epochs)
    schedule = learning_rate_schedule(stage, steps_per_epoch, total)
    return np.array([float(schedule(i)) for i in range(total)])


def test_linear_falls_to_zero_step_by_step():
    np.testing.assert_allclose(rates(), 0.8 * (1 - np.arange(40) / 40), atol=1e-6)


def test_linear_per_epoch_is_the_authors_script():
    expected = 0.8 * np.repeat([3 / 4, 2 / 4, 1 / 4, 0.0], 10)
    np.testing.assert_allclose(rates(schedule="linear_per_epoch"), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("epochs", "factors"),
    [
        (2.4, [2 / 3] * 10 + [1 / 3] * 10 + [0.0] * 4),
        (1.5, [1 / 2] * 10 + [0.0] * 5),
        (1.0, [1.0] * 10),  # with no later epoch there is nothing to fall to
        (0.5, [1.0] * 5),
    ],
)
def test_linear_per_epoch_counts_an_epoch_that_is_cut_short(epochs, factors):
    values = rates(epochs=epochs, schedule="linear_per_epoch")
    np.testing.assert_allclose(values, 0.8 * np.array(factors), atol=1e-6)


def test_warmup_comes_first_and_the_decay_still_ends_at_zero():
    values = rates(warmup_epochs=1.0)
    np.testing.assert_allclose(values[:10], 0.08 * np.arange(10), atol=1e-6)
    np.testing.assert_allclose(values[10:], 0.8 * (1 - np.arange(30) / 30), atol=1e-6)


def test_an_unknown_schedule_is_an_error():
    with pytest.raises(ValueError, match=r"schedule must be .* got 'step'"):
        rates(schedule="step")


@pytest.fixture(scope="module")
def params():
    model = n2uq.models.create(
        "resnet8", w_bits=2, a_bits=2, num_classes=3, width=4, in_features=1, rngs=nnx.Rngs(0)
    )
    return nnx.state(model, nnx.Param)


def first_updates(optimizer, gradients, params):
    """One program in place of one for each operation and shape."""
    update = jax.jit(lambda g, params: optimizer.update(g, optimizer.init(params), params)[0])
    return update(gradients, params)


def test_quantizer_parameters_move_at_a_tenth(params):
    stage = stage_config(quantized=True)
    optimizer = make_optimizer(stage, lambda step: 1e-2, params)
    ones = jax.tree.map(jnp.ones_like, params)
    updates = first_updates(optimizer, ones, params)
    # Adam's first step is the learning rate, whatever the size of the gradient.
    quantizers = 0
    for name, update in by_path(updates).items():
        slow = "input_quantizer" in name
        quantizers += slow
        np.testing.assert_allclose(update, -1e-3 if slow else -1e-2, rtol=1e-4, err_msg=name)
    assert quantizers == 8 * 4


def test_the_authors_script_misses_some_intervals_and_the_clip():
    shape = ResNetShape("bottleneck", (1,), (4,), stem="small")
    bits = {"w_bits": 2, "a_bits": 2, "num_classes": 3}
    mobile = {"name": "mobilenet_v2_small", "width": 4, **bits}
    for build, missed in (
        (lambda: ResNet(shape, **bits, rngs=nnx.Rngs(0)), {"units/2/conv", "shortcut/conv"}),
        (lambda: n2uq.models.create(**mobile, rngs=nnx.Rngs(0)), {"last_activation"}),
    ):
        params = nnx.state(nnx.eval_shape(build), nnx.Param)
        every, authors = (by_path(slow_group_labels(params, g)) for g in ("all", "authors"))
        names = {name for name in every if every[name] != authors[name]}
        assert {name.endswith(("/intervals", "/clip")) for name in names} == {True}
        assert {m for m in missed if any(m in name for name in names)} == missed
        assert len(names) == len(missed)
        assert {authors[name] for name in names} == {"default"}
        assert every == by_path(n2uq.optimizer_labels(params))


def test_weight_decay_takes_kernels_alone(params):
    stage = stage_config(quantized=True, weight_decay=0.1)
    optimizer = make_optimizer(stage, lambda step: 1e-2, params)
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates = first_updates(optimizer, zeros, params)
    old = by_path(params)
    for name, update in by_path(updates).items():
        decayed = name.endswith("kernel")
        expected = -1e-3 * old[name] if decayed else jnp.zeros_like(update)
        np.testing.assert_allclose(update, expected, rtol=1e-4, err_msg=name)
