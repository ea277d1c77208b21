import sys
import time

import pytest

from n2uq_jax.progress import counted, progress_bar, shown, silent


def test_every_step_has_a_bar_on_the_error_stream(capsys):
    with progress_bar() as progress:
        for done in range(4):
            progress("Reading off thresholds", done, 3)
        progress("Comparing on images", 1, 7)
    out, err = capsys.readouterr()
    assert out == ""
    assert "Reading off thresholds" in err
    assert "3/3" in err
    assert "1/7" in err
    assert err.count("Reading off thresholds") == 1


def test_an_export_that_never_began_shows_nothing(capsys):
    with pytest.raises(ValueError, match="bad"), progress_bar():
        raise ValueError("bad")
    assert capsys.readouterr() == ("", "")


def test_an_error_ends_the_bar(capsys):
    def fail():
        with progress_bar() as progress:
            progress("Writing", 0, 2)
            raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        fail()
    print("after", file=sys.stderr)
    err = capsys.readouterr().err
    assert "0/2" in err
    assert err.endswith("\nafter\n")


def test_silence(capsys):
    silent("Reading off thresholds", 1, 2)
    assert capsys.readouterr() == ("", "")


def test_whoever_is_fast_shows_nothing(capsys):
    with progress_bar(after=60) as progress:
        progress("Reading off thresholds", 1, 2)
    assert capsys.readouterr() == ("", "")


def test_after_a_while_the_bar_appears_without_another_call(capsys):
    with progress_bar(after=0.05) as progress:
        progress("Compiling", 0, 1)
        time.sleep(0.3)
    assert "Compiling" in capsys.readouterr().err


def test_what_the_caller_gives_is_told_and_nobody_where_nobody_looks(monkeypatch):
    told = []
    with shown(lambda *step: told.append(step)) as progress:
        progress("Calibrating", 1, 2)
    assert told == [("Calibrating", 1, 2)]
    with shown(None) as progress:
        assert progress is silent  # the error stream of a test is no terminal
    monkeypatch.setenv("FORCE_COLOR", "1")
    with shown(None) as progress:
        assert progress is not silent


def test_items_are_counted():
    told = []
    items = counted("ab", "Evaluating", 2, lambda *step: told.append(step))
    assert list(items) == ["a", "b"]
    assert told == [("Evaluating", n, 2) for n in range(3)]
