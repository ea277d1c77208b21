import importlib.util
import shutil

import pytest

from n2uq_jax.export.formats import FORMATS, check_formats, write_format
from n2uq_jax.export.formats.c.compile import CompilerError


@pytest.mark.parametrize("formats", [[], ["tflite"], ["onnx", "tflite"], "onnx", ()])
def test_unknown_formats_are_refused(formats):
    with pytest.raises(ValueError, match="formats must be among stablehlo"):
        check_formats(formats)


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="stablehlo needs the package flatbuffers"):
        check_formats(["stablehlo"])


def test_missing_compilers_are_named(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda command: None)
    with pytest.raises(CompilerError, match=r"format html .* apt-get install clang lld"):
        check_formats(["stablehlo", "html"])


def test_a_page_is_of_integers_alone(program):
    with pytest.raises(ValueError, match="format html takes integer-only networks"):
        write_format(program, "html")


def test_a_format_is_a_file(program):
    check_formats([name for name in FORMATS if name != "html"])
    (name,) = write_format(program, "onnx")
    assert name == "model.onnx"
