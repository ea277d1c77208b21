import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import n2uq_jax as n2uq
from n2uq_jax import data
from n2uq_jax.paths import by_path
from n2uq_jax.training.config import default_config
from n2uq_jax.workdir.checkpoints import Checkpoints
from n2uq_jax.workdir.config_json import open_workdir, read_workdir
from n2uq_jax.workdir.model import load, make_model, open_dataset, precision


def build(contents, stage, seed):
    return make_model(contents["config"] | {"seed": seed}, contents["dataset"], stage)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """Two checkpoints of the float stage, the older of them the best, and none of the other."""
    workdir = tmp_path_factory.mktemp("runs") / "run"
    config = default_config()
    config.model.width = 2
    open_workdir(workdir, config, data.load("digits"))
    checkpoints = Checkpoints(workdir / "checkpoints" / "float")
    for step, top1 in ((1, 0.9), (2, 0.5)):
        model = build(read_workdir(workdir), "float", seed=step)
        checkpoints.save(step, {"model": nnx.state(model)}, {}, {"top1": top1})
        checkpoints.wait()
    checkpoints.close()
    return workdir


def test_the_network_is_the_one_that_was_described(workdir):
    contents = read_workdir(workdir)
    quantized, twin = (
        nnx.eval_shape(lambda stage=stage: build(contents, stage, seed=0))
        for stage in ("quantized", "float")
    )
    first, *_ = (v.shape for v in by_path(nnx.state(twin, nnx.Param)).values() if v.ndim == 4)
    assert first == (3, 3, 1, 2)
    assert len(n2uq.nn.quantizers(quantized)) == 8
    assert n2uq.nn.quantizers(twin) == {}
    assert twin.head.out_features == 10


def test_the_newest_the_best_and_a_stage(workdir):
    contents = read_workdir(workdir)
    for best, seed in ((False, 2), (True, 1)):
        loaded = by_path(nnx.state(load(workdir, best=best)))
        for name, value in by_path(nnx.state(build(contents, "float", seed))).items():
            np.testing.assert_array_equal(loaded[name], value, err_msg=name)
    assert load(workdir, stage="float").stages[0][0].units[0].norm.use_running_average is not False
    with pytest.raises(ValueError, match="stage must be one of float, quantized, got 'x'"):
        load(workdir, stage="x")
    with pytest.raises(FileNotFoundError, match="has no checkpoint of quantized"):
        load(workdir, stage="quantized")


def test_the_data_set_of_a_configuration(tmp_path):
    settings = {"name": "digits", "dir": None, "image_size": 16, "crop_padding": 3, "flip": True}
    dataset = open_dataset(settings)
    assert dataset.image_shape == (16, 16, 1)
    assert (dataset.train_transform.padding, dataset.train_transform.flip) == (3, True)
    older = {"name": "digits", "dir": "", "image_size": 0, "crop_padding": -1, "flip": False}
    assert open_dataset(older).train_transform.padding == 1
    with pytest.raises(ValueError, match="data_dir: /elsewhere"):
        open_dataset(settings, "/elsewhere")


def test_double_precision_where_it_is_asked_for():
    with precision(True):
        assert jnp.ones(1).dtype == jnp.float64
    with precision(False):
        assert jnp.ones(1).dtype == jnp.float32
