"""``python -m n2uq_jax`` is ``n2uq``; other entries are its verbs."""

import runpy
import sys

import pytest

from n2uq_jax import __version__


def run(module, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    with pytest.raises(SystemExit) as exit:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    return exit.value.code


def test_the_package_is_the_command(monkeypatch, capsys):
    assert run("n2uq_jax", monkeypatch, "--version") in (0, None)
    assert __version__ in capsys.readouterr().out
    assert run("n2uq_jax", monkeypatch, "trian") == 2
    assert "did you mean train" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "verb"),
    [
        ("main", "train"),
        ("evaluate", "evaluate"),
        ("convert", "import"),
        ("export", "export"),
        ("report", "report"),
    ],
)
def test_entries_are_verbs(module, verb, monkeypatch, capsys):
    assert run(f"n2uq_jax.{module}", monkeypatch, "--help") in (0, None)
    assert capsys.readouterr().out.startswith(f"usage: n2uq {verb} ")
    assert run(f"n2uq_jax.{module}", monkeypatch, "--nonsense", "1") == 2
    assert "unknown flag --nonsense" in capsys.readouterr().err
