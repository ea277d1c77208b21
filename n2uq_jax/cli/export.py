"""Writes a trained network as an integer program, and proves the two equal.

n2uq export --workdir runs/digits --out digits
n2uq export --workdir runs/digits --out digits --format stablehlo,onnx --overwrite
n2uq export --workdir runs/digits --out digits --format stablehlo,html --overwrite
n2uq export --workdir runs/resnet18 --out resnet18 --images 0
"""

import argparse
from pathlib import Path

from n2uq_jax.cli.parser import Parser, add_data_dir, add_stage, add_workdir, count

USAGE = "--workdir DIR --out DIR [flags]"
EXTRA = "train,export"


def add_arguments(parser: Parser) -> None:
    """Adds the flags.

    Args:
      parser: gets them.
    """
    add_workdir(parser, required=True)
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="the artifact to write"
    )
    parser.add_argument(
        "--format",
        type=lambda text: text.split(","),
        default=["stablehlo"],
        metavar="LIST",
        help="among stablehlo, onnx, qonnx, c, html; with commas (default: stablehlo)",
    )
    add_stage(parser)
    parser.add_argument(
        "--images",
        type=count,
        default=1000,
        metavar="N",
        help="evaluation images to compare on (default: %(default)s); 0: noise",
    )
    add_data_dir(parser)
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an artifact that is there"
    )


def run(arguments: argparse.Namespace) -> int:
    """Exports and prints the verdict.

    Args:
      arguments: the flags.

    Returns:
      1 if the program is not equal to the network, else 0.
    """
    from n2uq_jax.export.workdir import export_workdir
    from n2uq_jax.progress import progress_bar

    with progress_bar() as progress:
        exported = export_workdir(
            arguments.workdir,
            arguments.out,
            formats=arguments.format,
            images=arguments.images,
            stage=arguments.stage,
            data_dir=arguments.data_dir,
            overwrite=arguments.overwrite,
            progress=progress,
        )
    print(exported)
    return 0 if exported.proof.ok else 1
