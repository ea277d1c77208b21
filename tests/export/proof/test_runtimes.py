import importlib

import numpy as np
import pytest

from n2uq_jax.export.formats.onnx.runtime import to_onnx
from n2uq_jax.export.proof.runtimes import compare_runtimes, onnx_runtime
from tests.export.dense_network import built, codes_of, pixels, sums_of

module = importlib.import_module("n2uq_jax.export.proof.runtimes")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.onnx").write_bytes(to_onnx(built()[0]))
    return tmp_path


def test_a_model_is_a_function(folder):
    logits = onnx_runtime(folder / "model.onnx")(pixels())
    np.testing.assert_array_equal(logits, 0.5 * codes_of(sums_of(pixels())), strict=False)


@pytest.mark.parametrize(("wrong", "verdict"), [(0, "the same"), (2, "NOT the same")])
def test_logits_that_differ_are_counted(folder, monkeypatch, wrong, verdict):
    expected = 0.5 * codes_of(sums_of(pixels()))
    expected[:wrong, 1] += 1
    monkeypatch.setattr(module, "load_artifact", lambda directory: lambda images: expected)
    (found,) = compare_runtimes(folder, pixels())
    assert (found.images, found.logits, found.differing) == (64, 192, wrong)
    assert str(found) == (
        f"in ONNX Runtime and in XLA: {verdict}, {wrong} of 192 logits of 64 images differ"
    )


def test_an_artifact_without_models_is_not_run(tmp_path):
    assert compare_runtimes(tmp_path, pixels()) == []
