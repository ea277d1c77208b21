"""Says what a run will be, or what stands in its way, before anything is trained.

n2uq check --config digits_w2a2 --config.model.w_bits=3
n2uq check --workdir runs/digits
n2uq check --fields
"""

import argparse

from n2uq_jax.cli.config import add_config, read_config
from n2uq_jax.cli.parser import Parser, add_cpu_devices, add_workdir, fake_devices

USAGE = "[--config NAME] [--config.FIELD=VALUE ...] | --workdir DIR | --fields"
EXTRA = "train,export"


def add_arguments(parser: Parser) -> None:
    """Adds the flags.

    Args:
      parser: gets them.
    """
    add_config(parser, "digits_w2a2")
    add_workdir(parser, help="a run to look at, in place of a config")
    parser.add_argument(
        "--fields", action="store_true", help="explain every field, and list all configs"
    )
    add_cpu_devices(parser)

    from n2uq_jax.training.schema import names

    parser.add_section("fields", names())
    parser.add_section(
        "configs", "digits_w2a2, fashion_mnist_w2a2, mobilenet_v2_w2a2, resnet18_w2a2, ..."
    )


def run(arguments: argparse.Namespace) -> None:
    """Checks and prints.

    Args:
      arguments: the flags.
    """
    if arguments.fields:
        from n2uq_jax.training.config_file import config_names
        from n2uq_jax.training.schema import listing

        print(f"{listing()}\n\nconfigs: {', '.join(config_names())}")
        return
    fake_devices(arguments.cpu_devices)

    from n2uq_jax.preflight.run import check_run, check_workdir

    if arguments.workdir is not None:
        if arguments.overrides:
            raise ValueError(f"{arguments.overrides[0]} goes with --config, not with --workdir.")
        print(check_workdir(arguments.workdir))
    else:
        print(check_run(read_config(arguments.config, arguments.overrides)))
