"""Prints a table of a run's stages and draws its pictures anew.

n2uq report --workdir runs/digits
"""

import argparse

from n2uq_jax.cli.parser import Parser, add_data_dir, add_workdir

USAGE = "--workdir DIR [flags]"
EXTRA = "train"


def add_arguments(parser: Parser) -> None:
    """Adds the flags.

    Args:
      parser: gets them.
    """
    add_workdir(parser, required=True)
    add_data_dir(parser)


def run(arguments: argparse.Namespace) -> None:
    """Writes the report.

    Args:
      arguments: the flags.
    """
    from n2uq_jax.progress import PATIENCE, progress_bar
    from n2uq_jax.report.write import write_report

    with progress_bar(after=PATIENCE) as progress:
        write_report(arguments.workdir, data_dir=arguments.data_dir, progress=progress)
