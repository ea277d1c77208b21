import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from n2uq_jax import data
from n2uq_jax.training import sharding
from n2uq_jax.training.evaluation import evaluate_workdir, make_evaluation
from n2uq_jax.training.state import split_model
from n2uq_jax.training.step import Pixels


class Linear(nnx.Module):
    def __init__(self):
        self.linear = nnx.Linear(64, 10, rngs=nnx.Rngs(0))

    def __call__(self, images):
        return self.linear(images.reshape(-1, 64))


def test_every_image_counts_once_whatever_the_batch_size():
    digits, mesh, model = data.load("digits"), sharding.make_mesh(), Linear()
    graphdefs, *state = split_model(model)
    params, rest = (jax.device_put(part, sharding.fsdp_sharding(mesh, part)) for part in state)
    images = digits.evaluation.images.reshape(-1, 64) / 255
    images = (images - digits.mean[0]) / digits.std[0]
    logits = np.asarray(model.linear(jnp.asarray(images, jnp.float32)))
    rank = np.argsort(np.argsort(-logits, -1), -1)[np.arange(355), digits.evaluation.labels]
    pixels = Pixels(digits.mean, digits.std, "float32")
    for batch_size in (64, 400):
        metrics = make_evaluation(graphdefs, digits, pixels, batch_size, mesh)(params, rest)
        assert metrics["images"] == 355
        assert metrics["top1"] == pytest.approx((rank < 1).mean())
        assert metrics["top5"] == pytest.approx((rank < 5).mean())
        odds = np.exp(logits - logits.max(-1, keepdims=True))
        own = odds[np.arange(355), digits.evaluation.labels] / odds.sum(-1)
        assert metrics["loss"] == pytest.approx(-np.log(own).mean(), rel=1e-5)


def test_no_workdir_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="workdir must be a folder"):
        evaluate_workdir(tmp_path / "nothing")
