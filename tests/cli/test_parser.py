import argparse

import pytest

from n2uq_jax.cli.parser import Parser, add_workdir, count, positive, split_overrides

TEXT = """Does it.

n2uq do --workdir runs/it
"""


@pytest.fixture
def parser():
    parser = Parser("n2uq do", "[flags]", TEXT)
    add_workdir(parser)
    return parser


def test_overrides_are_taken_out_of_a_command_line():
    words = ["--config", "c", "--config.a=1", "--config.b", "-1", "--workdir", "w"]
    words += ["--config.c", "--noconfig.d", "--config.e"]
    assert split_overrides(words) == (
        ["--config", "c", "--workdir", "w"],
        ["--config.a=1", "--config.b=-1", "--config.c", "--noconfig.d", "--config.e"],
    )


def test_what_follows_two_dashes_is_left_alone():
    words = ["--", "--config.a=1"]
    assert split_overrides(words) == (words, [])


def test_numbers_are_read_with_their_bounds():
    assert (positive("3"), count("0")) == (3, 0)
    for text in ("0", "-1", "1.5", "", "x"):
        with pytest.raises(argparse.ArgumentTypeError, match="must be a positive integer"):
            positive(text)
    with pytest.raises(argparse.ArgumentTypeError, match="must be an integer from 0 on, got '-1'"):
        count("-1")


def test_values_come_by_name(parser):
    arguments = parser.parse(["--workdir", "runs/it"])
    assert str(arguments.workdir) == "runs/it"
    assert arguments.overrides == []


def test_mistakes_are_value_errors(parser):
    with pytest.raises(ValueError, match="unknown flag --workdr; did you mean --workdir"):
        parser.parse(["--workdr", "x"])
    with pytest.raises(ValueError, match="unexpected argument 'x'"):
        parser.parse(["x"])
    with pytest.raises(ValueError, match="--workdir: expected one argument"):
        parser.parse(["--workdir"])
    with pytest.raises(ValueError, match="n2uq do reads no config"):
        parser.parse(["--config.a=1"])


def test_help_has_the_examples_of_the_docstring(parser):
    assert parser.format_help() == (
        "usage: n2uq do [flags]\n\nDoes it.\n\noptions:\n"
        "  --workdir DIR  folder of a run, which n2uq train or n2uq import wrote\n\n"
        "examples:\n  n2uq do --workdir runs/it\n"
    )
