"""Makes the workdir of a PyTorch checkpoint: the authors' or torchvision's.

n2uq import --arch resnet18 --bits 2 --checkpoint model_best.pth.tar --workdir runs/authors
n2uq import --arch torchvision/resnet18 --checkpoint resnet18.safetensors --workdir runs/float
"""

import argparse

from n2uq_jax.cli.parser import Parser, add_data_dir, add_workdir, positive

USAGE = "--arch NAME --checkpoint FILE --workdir DIR [flags]"
EXTRA = "train"


def add_arguments(parser: Parser) -> None:
    """Adds the flags.

    Args:
      parser: gets them.
    """
    parser.add_argument(
        "--arch", required=True, metavar="NAME", help="one of n2uq.models.names(), as resnet18"
    )
    parser.add_argument(
        "--checkpoint", required=True, metavar="FILE", help=".safetensors, .pth or .pth.tar"
    )
    add_workdir(parser, required=True, help="the folder to make")
    parser.add_argument(
        "--bits",
        type=positive,
        metavar="B",
        help="of weights and activations (default: a float network)",
    )
    parser.add_argument(
        "--w_bits", type=positive, metavar="B", help="of the weights, where they have other bits"
    )
    parser.add_argument(
        "--data",
        default="imagenet2012",
        metavar="NAME",
        help="data set that the network classifies (default: %(default)s)",
    )
    add_data_dir(parser, default="", help="where the data set is")


def run(arguments: argparse.Namespace) -> None:
    """Converts.

    Args:
      arguments: the flags.
    """
    from n2uq_jax.training.convert import convert

    convert(
        arguments.arch,
        arguments.checkpoint,
        arguments.workdir,
        w_bits=arguments.w_bits or arguments.bits,
        a_bits=arguments.bits,
        data=arguments.data,
        data_dir=arguments.data_dir,
    )
    print(f"wrote {arguments.workdir}; next: n2uq evaluate --workdir {arguments.workdir}")
