import sys

import pytest

from n2uq_jax.export.progress import progress_bar, silent


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
