"""Draws the pictures of a run: ``python -m n2uq_jax.report --workdir DIR``."""

import argparse
from collections.abc import Sequence

from n2uq_jax.messages import show_messages


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the flags and writes the report.

    Args:
      arguments: instead of the command line's.
    """
    parser = argparse.ArgumentParser(prog="python -m n2uq_jax.report", description=__doc__)
    parser.add_argument("--workdir", required=True, help="what python -m n2uq_jax.main wrote")
    parser.add_argument("--data_dir", help="where the data are now, if they have moved")
    flags = parser.parse_args(arguments)

    from n2uq_jax.report.write import write_report

    show_messages()
    try:
        write_report(flags.workdir, data_dir=flags.data_dir)
    except FileNotFoundError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
