"""Trains the network that a config describes, or goes on with a run that was stopped.

n2uq train --config digits_w2a2 --workdir runs/digits
n2uq train --config digits_w2a2 --config.model.w_bits=3 --config.quantized.epochs=10
n2uq train --config configs/resnet18_w2a2.py --config.data.dir=/data/tfds --workdir runs/resnet18
"""

import argparse
from pathlib import Path

from n2uq_jax.cli.config import add_config, read_config
from n2uq_jax.cli.parser import Parser, add_cpu_devices, add_workdir, fake_devices, positive

USAGE = "[--config NAME] [--config.FIELD=VALUE ...] [--workdir DIR] [flags]"
EXTRA = "train"


def add_arguments(parser: Parser) -> None:
    """Adds the flags.

    Args:
      parser: gets them.
    """
    add_config(parser, "digits_w2a2")
    add_workdir(parser, help="folder of the run, new or stopped (default: runs/CONFIG-NAME)")
    parser.add_argument(
        "--restart", action="store_true", help="start stages anew that depend on what has changed"
    )
    add_cpu_devices(parser)
    group = parser.add_argument_group("several processes")
    group.add_argument("--distributed", action="store_true", help="join the cluster's processes")
    group.add_argument(
        "--coordinator_address",
        metavar="ADDR",
        help="process 0's HOST:PORT; like the next two, if the cluster does not tell",
    )
    group.add_argument("--num_processes", type=int, metavar="N", help="how many there are")
    group.add_argument("--process_id", type=int, metavar="I", help="which one this is, from 0")
    group.add_argument(
        "--heartbeat_timeout",
        type=positive,
        metavar="S",
        default=60,
        help="seconds of silence after which a process ends the others (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Trains.

    Args:
      arguments: the flags.

    Returns:
      130 after Ctrl-C, as shells have it, else 0.
    """
    config = read_config(arguments.config, arguments.overrides)
    workdir = arguments.workdir or Path("runs") / Path(arguments.config).stem
    _start_jax(arguments)

    import jax

    from n2uq_jax.training.preemption import Preempted
    from n2uq_jax.training.run import train

    first = jax.process_index() == 0
    try:
        train(config, workdir, restart=arguments.restart)
    except Preempted as preempted:
        if first:
            print(f"{preempted} To go on: {arguments.command}")
        return 130 if preempted.cause == "Ctrl-C" else 0
    except KeyboardInterrupt:
        if first:
            print(f"Stopped by Ctrl-C; there was nothing to save. To go on: {arguments.command}")
        return 130
    if config.export:
        from n2uq_jax.export.workdir import export_and_evaluate
        from n2uq_jax.workdir.lock import owned
        from n2uq_jax.workdir.processes import first_alone

        def export() -> str:
            with owned(workdir):
                return export_and_evaluate(workdir, workdir / "artifact")

        verdict = first_alone("export", export)
        if first:
            print(verdict)
    return 0


def _start_jax(arguments: argparse.Namespace) -> None:
    import jax

    fake_devices(arguments.cpu_devices)
    address = arguments.coordinator_address, arguments.num_processes, arguments.process_id
    if arguments.distributed:
        jax.distributed.initialize(*address, heartbeat_timeout_seconds=arguments.heartbeat_timeout)
    elif address != (None, None, None):
        raise ValueError(
            "--coordinator_address, --num_processes and --process_id want --distributed."
        )
