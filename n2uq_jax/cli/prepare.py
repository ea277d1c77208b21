"""Prepares a TFDS data set, once, for training to read without TensorFlow.

n2uq prepare --manual_dir tars --data_dir /data/tfds
    (tars: ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar, from
    https://image-net.org/download-images)
n2uq prepare --data cifar10 --data_dir /data/tfds
"""

import argparse
from pathlib import Path

from n2uq_jax.cli.parser import Parser, add_data_dir

USAGE = "--data_dir DIR [flags]"
EXTRA = "prepare"


def add_arguments(parser: Parser) -> None:
    """Adds the flags.

    Args:
      parser: gets them.
    """
    add_data_dir(parser, required=True, help="folder to prepare into")
    parser.add_argument(
        "--data",
        "--name",
        default="imagenet2012",
        metavar="NAME",
        help="TFDS data set (default: %(default)s)",
    )
    parser.add_argument(
        "--manual_dir", type=Path, metavar="DIR", help="folder of files that TFDS cannot download"
    )


def run(arguments: argparse.Namespace) -> None:
    """Prepares.

    Args:
      arguments: the flags.
    """
    from n2uq_jax.data.prepare import prepare

    splits = prepare(arguments.data, Path(arguments.data_dir), arguments.manual_dir)
    counts = ", ".join(f"{number} records in {split}" for split, number in splits.items())
    print(f"{arguments.data} is ready in {arguments.data_dir}: {counts}.")
