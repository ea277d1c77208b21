"""The parser of a verb: help that fits a screen, errors that say what was meant."""

import argparse
import inspect
import shlex
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from n2uq_jax.spelling import similar

CONFIG = "--config"


class Parser(argparse.ArgumentParser):
    """An argument parser that raises ``ValueError`` instead of ending the process.

    Args:
      prog: the command, such as ``n2uq train``.
      usage: what follows it, in brief.
      text: what it does; after an empty line, examples.
    """

    def __init__(self, prog: str, usage: str, text: str):
        description, _, examples = inspect.cleandoc(text).partition("\n\n")
        super().__init__(
            prog=prog,
            usage=f"{prog} {usage}",
            description=description,
            epilog="examples:\n" + textwrap.indent(examples, "  "),
            formatter_class=_formatter,
            allow_abbrev=False,
            add_help=False,
        )
        self.add_argument("-h", "--help", action="help", help=argparse.SUPPRESS)

    def add_section(self, title: str, text: str) -> None:
        """Adds a paragraph to the help, in front of the examples.

        Args:
          title: what it begins with.
          text: the rest.
        """
        lines = textwrap.fill(
            f"{title}: {text}", 99, subsequent_indent="  ", break_on_hyphens=False
        )
        self.epilog = f"{lines}\n{self.epilog}"

    def error(self, message: str) -> NoReturn:
        """Reports what is wrong.

        Args:
          message: what argparse says.

        Raises:
          ValueError: always.
        """
        raise ValueError(message.removeprefix("argument "))

    def flags(self) -> list[str]:
        """Lists the flags.

        Returns:
          Their names with the dashes.
        """
        return list(self._option_string_actions)

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """Reads a command line.

        Args:
          words: what follows the command.

        Returns:
          The values by name; ``overrides`` lists each ``--config.FIELD=VALUE``, and ``command`` is
          the whole command, to be typed again.

        Raises:
          ValueError: if a flag is unknown, missing, or has a value that it cannot have.
        """
        command = shlex.join([*self.prog.split(), *words])
        words, overrides = split_overrides(words)
        if overrides and CONFIG not in self.flags():
            raise ValueError(f"{self.prog} reads no config, got {overrides[0]}.")
        for word in words:
            flag = word.partition("=")[0]
            if word == "--":
                break
            if word.startswith("-") and not word[1:2].isdigit() and flag not in self.flags():
                raise ValueError(f"unknown flag {flag}{similar(flag, self.flags())}")
        arguments, rest = self.parse_known_args(words)
        if rest:
            raise ValueError(f"unexpected argument {rest[0]!r}; {self.prog} --help lists the flags")
        arguments.overrides = overrides
        arguments.command = command
        return arguments


def split_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Takes changes of a configuration out of a command line.

    Args:
      words: a command line.

    Returns:
      The other words; and the changes, each one word: ``--config.FIELD=VALUE``, or
      ``--config.FIELD`` and ``--noconfig.FIELD`` for a bool.
    """
    rest: list[str] = []
    overrides: list[str] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if word == "--":
            rest += [word, *waiting]
            break
        if not word.startswith((f"{CONFIG}.", "--noconfig.")):
            rest.append(word)
        elif "=" in word or not waiting or waiting[0].startswith("--") or word.startswith("--no"):
            overrides.append(word)
        else:
            overrides.append(f"{word}={waiting.pop(0)}")
    return rest, overrides


def add_workdir(parser: argparse._ActionsContainer, **options) -> None:
    """Adds ``--workdir``, which most commands have.

    Args:
      parser: gets the flag.
      **options: of ``add_argument``.
    """
    options = {"help": "folder of a run, which n2uq train or n2uq import wrote"} | options
    parser.add_argument("--workdir", type=Path, metavar="DIR", **options)


def add_cpu_devices(parser: argparse._ActionsContainer) -> None:
    """Adds ``--cpu_devices``; :func:`fake_devices` makes them.

    Args:
      parser: gets the flag.
    """
    parser.add_argument("--cpu_devices", type=positive, metavar="N", help="fake N CPU devices")


def fake_devices(count: int | None) -> None:
    """Splits the CPU into devices, before JAX has looked for any.

    Args:
      count: how many; None to leave JAX as it is.
    """
    if count is not None:
        import jax

        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", count)


def add_artifact(parser: argparse._ActionsContainer, **options) -> None:
    """Adds ``--artifact``, an integer model.

    Args:
      parser: gets the flag.
      **options: of ``add_argument``.
    """
    parser.add_argument(
        "--artifact",
        type=Path,
        metavar="DIR",
        help="integer model, which n2uq export wrote",
        **options,
    )


def add_engine(parser: argparse._ActionsContainer) -> None:
    """Adds ``--engine``, what computes an integer model.

    Args:
      parser: gets the flag.
    """
    parser.add_argument(
        "--engine",
        choices=("xla", "c"),
        default="xla",
        help="what computes the integer model; c: its C program, compiled here (default: xla)",
    )


def add_stage(parser: argparse._ActionsContainer) -> None:
    """Adds ``--stage``, a training stage.

    Args:
      parser: gets the flag.
    """
    parser.add_argument("--stage", metavar="NAME", help="training stage (default: the last one)")


def add_data_dir(parser: argparse._ActionsContainer, **options) -> None:
    """Adds ``--data_dir``, where a data set is.

    Args:
      parser: gets the flag.
      **options: of ``add_argument``.
    """
    options = {"help": "where the data are now, if they have moved"} | options
    parser.add_argument("--data_dir", metavar="DIR", **options)


def positive(text: str) -> int:
    """Reads a positive integer.

    Args:
      text: what came.

    Returns:
      The number.

    Raises:
      argparse.ArgumentTypeError: if it is none.
    """
    return _integer(text, 1, "a positive integer")


def count(text: str) -> int:
    """Reads an integer from 0 on.

    Args:
      text: what came.

    Returns:
      The number.

    Raises:
      argparse.ArgumentTypeError: if it is none.
    """
    return _integer(text, 0, "an integer from 0 on")


def _integer(text: str, least: int, expected: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"must be {expected}, got {text!r}")
    return int(text)


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=27, width=99)
