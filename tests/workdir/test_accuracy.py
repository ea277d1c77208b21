import jax.numpy as jnp
import numpy as np
import optax
import pytest

from n2uq_jax.workdir.accuracy import classification_sums, evaluate, in_top_k, ranked


def test_top_k():
    logits = jnp.array([[0.1, 0.4, 0.3, 0.2]] * 4)
    labels = jnp.arange(4)
    assert in_top_k(logits, labels, 1).tolist() == [False, True, False, False]
    assert in_top_k(logits, labels, 3).tolist() == [False, True, True, True]
    assert in_top_k(logits, labels, 5).tolist() == [True] * 4


def test_among_equal_logits_the_smaller_number_comes_first():
    logits = jnp.array([[1.0, 2.0, 2.0, 2.0]] * 4)
    labels = jnp.arange(4)
    assert in_top_k(logits, labels, 1).tolist() == [False, True, False, False]
    assert in_top_k(logits, labels, 2).tolist() == [False, True, True, False]
    constant = in_top_k(jnp.zeros((10, 10)), jnp.arange(10), 5)
    assert constant.tolist() == [True] * 5 + [False] * 5


@pytest.mark.parametrize("k", [1, 2, 5])
def test_the_ranking_has_the_same_order(k):
    logits = np.random.default_rng(0).integers(0, 3, (50, 6)).astype(np.float32)
    labels = np.arange(50) % 6
    expected = (ranked(logits, k) == labels[:, None]).any(1)
    assert in_top_k(jnp.asarray(logits), jnp.asarray(labels), k).tolist() == expected.tolist()
    np.testing.assert_array_equal(ranked(logits, 1)[:, 0], logits.argmax(-1))


def test_nan_is_never_a_hit():
    nan = float("nan")
    logits = jnp.array([[nan, nan, nan], [nan, 1.0, 0.0], [2.0, nan, 1.0], [2.0, 1.0, 0.0]])
    for k in (1, 2, 5):
        assert in_top_k(logits, jnp.array([0, 1, 0, 0]), k).tolist() == [False] * 3 + [True]


def test_infinite_logits_have_an_order():
    logits = jnp.array([[-jnp.inf, 1.0, jnp.inf]] * 3)
    assert in_top_k(logits, jnp.arange(3), 2).tolist() == [False, True, True]


def test_sums_leave_out_what_fills_up_a_batch():
    rng = np.random.default_rng(0)
    logits, labels = jnp.asarray(rng.normal(size=(6, 7))), jnp.asarray(rng.integers(0, 7, 6))
    weight = jnp.array([1.0, 1.0, 0.0, 1.0, 1.0, 0.0])
    spoiled = logits.at[jnp.array([2, 5])].set(jnp.nan)
    sums = classification_sums(spoiled, labels, weight)
    kept = np.array([0, 1, 3, 4])
    losses = optax.softmax_cross_entropy_with_integer_labels(logits[kept], labels[kept])
    np.testing.assert_allclose(sums["loss"], losses.sum(), rtol=1e-6)
    for k in (1, 5):
        assert sums[f"top{k}"] == in_top_k(logits[kept], labels[kept], k).sum()
    assert sums["count"] == 4


def test_averages_weigh_every_image_the_same():
    labels = jnp.array([0, 0, 0])
    right = jnp.array([[9.0, 0.0]] * 3)
    batches = [
        (right, labels, jnp.ones(3)),
        (-right, labels, jnp.array([1.0, 0.0, 0.0])),
    ]
    metrics = evaluate(lambda batch: classification_sums(*batch), batches)
    assert metrics.keys() == {"loss", "top1", "top5", "images"}
    assert (metrics["top1"], metrics["top5"], metrics["images"]) == (0.75, 1.0, 4)
    low, high = np.log1p(np.exp(-9.0)), np.log1p(np.exp(9.0))
    assert metrics["loss"] == pytest.approx((3 * low + high) / 4, rel=1e-5)
