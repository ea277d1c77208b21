"""Classifies image files with an integer model.

n2uq predict --artifact digits seven.png
n2uq predict --artifact digits --top 3 seven.png nine.png
"""

import argparse
import sys

from n2uq_jax.cli.parser import Parser, add_artifact, add_engine, positive

USAGE = "--artifact DIR [--top N] IMAGE [IMAGE ...]"
EXTRA = "train,export"


def add_arguments(parser: Parser) -> None:
    """Adds the flags.

    Args:
      parser: gets them.
    """
    add_artifact(parser, required=True)
    add_engine(parser)
    parser.add_argument(
        "--top",
        type=positive,
        default=5,
        metavar="N",
        help="classes to print for each image (default: %(default)s)",
    )
    parser.add_argument("image", nargs="+", metavar="IMAGE", help="of any format that Pillow reads")


def run(arguments: argparse.Namespace) -> None:
    """Classifies and prints.

    Args:
      arguments: the flags.
    """
    from n2uq_jax.export.artifact.manifest import read_manifest
    from n2uq_jax.predict import look, predict

    results = predict(arguments.artifact, arguments.image, arguments.top, arguments.engine)
    preprocessing = read_manifest(arguments.artifact)["preprocessing"]
    for path, classes in zip(arguments.image, results, strict=True):
        seen = look(path, preprocessing)
        print(f"{path}: seen as {seen}")
        if sys.stdout.isatty():
            print(seen.thumbnail())
        for warning in seen.warnings:
            print(f"n2uq: warning: {path}: {warning}", file=sys.stderr)
        for name, probability in classes:
            print(f"  {probability:6.1%}  {name}")
