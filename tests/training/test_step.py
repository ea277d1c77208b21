import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from n2uq_jax.paths import by_path
from n2uq_jax.training import sharding
from n2uq_jax.training.config import stage_config
from n2uq_jax.training.state import create_state, forward, split_model
from n2uq_jax.training.step import make_eval_step, make_train_step, on_leaves
from tests.training.tiny import BATCH, PIXELS, batch, tiny


def steps(count, *, model=None, mesh=None, stage=None, teacher=None, **kwargs):
    """Runs some steps; returns the state, the losses and the static halves."""
    model = model or tiny()
    graphdefs, params, batch_stats = split_model(model)
    optimizer = optax.adam(1e-2)
    state = create_state(params, batch_stats, optimizer)
    if mesh is not None:
        kwargs["state_sharding"] = sharding.fsdp_sharding(mesh, state)
        state = jax.device_put(state, kwargs["state_sharding"])
    graphdef, teacher_state = nnx.split(teacher) if teacher else (None, None)
    step = make_train_step(
        graphdefs,
        optimizer,
        stage or stage_config(quantized=True),
        PIXELS,
        teacher=graphdef,
        **kwargs,
    )
    losses = []
    for i in range(count):
        data = batch(i)
        if mesh is not None:
            data = sharding.put_batch(mesh, jax.device_get(data))
        state, metrics = step(state, data, teacher_state)
        losses.append(float(metrics["loss"]))
    return state, losses, graphdefs


def test_a_step_moves_everything_it_should_and_leaves_the_model_alone(x64):
    model = tiny(widths=(8,))
    before = {name: np.asarray(value) for name, value in by_path(nnx.state(model)).items()}
    state, _, _ = steps(1, model=model)
    after = by_path(nnx.merge_state(state.params, state.batch_stats))
    assert [name for name in before if np.array_equal(before[name], after[name])] == []
    assert int(state.step) == 1
    # The step was given the state's memory, not the model's.
    for name, value in by_path(nnx.state(model)).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_a_step_on_leaves_is_the_step(x64):
    graphdefs, params, batch_stats = split_model(tiny(widths=(8,)))
    optimizer = optax.adam(1e-2)
    state = create_state(params, batch_stats, optimizer)
    step = make_train_step(graphdefs, optimizer, stage_config(quantized=True), PIXELS)
    leaves, metrics = on_leaves(step, state)(
        jax.tree.leaves(jax.tree.map(jnp.copy, state)), batch(), None
    )
    expected, expected_metrics = step(state, batch(), None)
    assert metrics["loss"] == expected_metrics["loss"]
    for found, wanted in zip(leaves, jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.slow
def test_a_teacher_pulls_the_student_to_its_own_logits(x64):
    teacher = tiny(bits=None)
    teacher.eval()
    stage = stage_config(quantized=True)
    _, losses, _ = steps(30, teacher=teacher, stage=stage)
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


@pytest.mark.slow
def test_accumulation_averages_the_gradients_of_microbatches(x64):
    graphdefs, params, batch_stats = split_model(tiny())
    data = batch()

    @jax.jit
    def gradient(params, part):
        def loss(params):
            logits, _ = forward(graphdefs.train, params, batch_stats, PIXELS(part["image"]))
            return optax.softmax_cross_entropy_with_integer_labels(logits, part["label"]).mean()

        return jax.grad(loss)(params)

    halves = [gradient(params, {k: v[i::2] for k, v in data.items()}) for i in (0, 1)]
    expected = jax.tree.map(lambda a, b: -(a + b) / 2, *halves)
    step = make_train_step(
        graphdefs, optax.sgd(1.0), stage_config(quantized=True), PIXELS, accumulate=2
    )
    state, _ = step(create_state(params, batch_stats, optax.sgd(1.0)), data, None)
    moved = jax.tree.map(lambda new, old: new - old, state.params, params)
    for name, value in by_path(expected).items():
        np.testing.assert_allclose(by_path(moved)[name], value, rtol=1e-7, atol=1e-9)


@pytest.mark.slow
def test_one_device_eight_and_fsdp_compute_the_same_in_a_quarter_of_the_bytes(x64):
    _, one_device, _ = steps(20)
    _, plain, _ = steps(20, mesh=sharding.make_mesh())
    state, spread, _ = steps(20, mesh=sharding.make_mesh(fsdp=4))
    np.testing.assert_allclose(plain, one_device, rtol=0, atol=1e-9)
    np.testing.assert_allclose(spread, plain, rtol=0, atol=1e-9)
    shardable = [v for v in jax.tree.leaves(state.params) if not v.sharding.is_fully_replicated]
    held = sum(v.addressable_shards[0].data.nbytes for v in shardable)
    assert held * 4 == sum(v.nbytes for v in shardable) > 0


@pytest.mark.slow
def test_evaluation_counts_every_image_once_and_padding_never(x64):
    graphdefs, params, batch_stats = split_model(tiny())
    evaluate = make_eval_step(graphdefs, PIXELS)
    data = batch()
    whole = evaluate(params, batch_stats, {**data, "weight": jnp.ones(BATCH)})
    weight = jnp.arange(BATCH) < 10
    part = evaluate(params, batch_stats, {**data, "weight": weight.astype(jnp.float32)})
    logits, _ = forward(graphdefs.eval, params, batch_stats, PIXELS(data["image"]))
    right = jnp.argmax(logits, -1) == data["label"]
    assert int(whole["top1"]) == int(right.sum())
    assert int(part["top1"]) == int(right[:10].sum())
    assert int(part["count"]) == 10
