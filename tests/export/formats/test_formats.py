import importlib.util

import pytest

from n2uq_jax.export.formats import FORMATS, check_formats, write_format


@pytest.mark.parametrize("formats", [[], ["tflite"], ["onnx", "tflite"], "onnx", ()])
def test_unknown_formats_are_refused(formats):
    with pytest.raises(ValueError, match="formats must be among stablehlo"):
        check_formats(formats)


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="stablehlo needs the package flatbuffers"):
        check_formats(["stablehlo"])


def test_a_format_is_a_file(program):
    check_formats(list(FORMATS))
    (name,) = write_format(program, "onnx")
    assert name == "model.onnx"
