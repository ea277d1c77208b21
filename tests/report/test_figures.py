import json

import numpy as np
import pytest
from flax import nnx

from n2uq_jax.report import figures
from n2uq_jax.report.figures import observe, write_figures
from tests.report.tiny import Tiny


@pytest.fixture
def metrics(tmp_path):
    line = {"stage": "float", "kind": "eval", "step": 1, "epoch": 1, "loss": 1, "top1": 0.5}
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps(line) + "\n")
    return path


def test_a_float_network_has_curves_alone(metrics, tmp_path):
    model = Tiny(nnx.Rngs(0), a_bits=None)
    written = write_figures(model, metrics, None, tmp_path / "new")
    assert [path.name for path in written] == ["training_curves.png"]
    assert observe(model, np.zeros((1, 8, 8, 1))) == {}


def test_a_quantized_network_has_staircases(metrics, tmp_path):
    written = write_figures(Tiny(nnx.Rngs(0)), metrics, None, tmp_path / "new")
    assert [path.name for path in written] == ["training_curves.png", "staircases.png"]
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in written)


def test_observing_leaves_the_network_as_it_is():
    model = Tiny(nnx.Rngs(0))
    images = nnx.Rngs(1).normal((5, 8, 8, 1)) + 3
    seen = observe(model, images)
    assert seen["linear/input_quantizer"].shape == (5 * 64,)
    # Running statistics are 0 and 1, so evaluation passes the images on.
    assert seen["linear/input_quantizer"].mean() == pytest.approx(3, abs=0.2)
    assert int(model.norm.num_batches[...]) == 0
    assert not model.norm.use_running_average


def test_a_large_input_is_thinned_over_all_its_channels(monkeypatch):
    monkeypatch.setattr(figures, "MAX_SAMPLES", 100)
    images = np.broadcast_to(np.arange(64.0).reshape(1, 8, 8, 1), (10, 8, 8, 1))
    seen = observe(Tiny(nnx.Rngs(0)), images)["linear/input_quantizer"]
    assert 80 <= len(seen) <= 100  # every seventh of 640
    assert len(np.unique(np.rint(seen))) > 60
