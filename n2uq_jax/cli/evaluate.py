"""Measures a trained network, or its integer model, on the data it was trained for.

n2uq evaluate --workdir runs/digits
n2uq evaluate --workdir runs/digits --stage float --best
n2uq evaluate --artifact runs/digits/artifact --batch_size 50
"""

import argparse
import json

from n2uq_jax.cli.parser import (
    Parser,
    add_artifact,
    add_data_dir,
    add_engine,
    add_stage,
    add_workdir,
    positive,
)

USAGE = "(--workdir DIR | --artifact DIR) [flags]"
EXTRA = "train,export"


def add_arguments(parser: Parser) -> None:
    """Adds the flags.

    Args:
      parser: gets them.
    """
    group = parser.add_mutually_exclusive_group(required=True)
    add_workdir(group)
    add_artifact(group)
    add_engine(parser)
    add_stage(parser)
    parser.add_argument(
        "--best", action="store_true", help="the checkpoint of the highest top-1, not the newest"
    )
    add_data_dir(parser)
    parser.add_argument(
        "--batch_size", type=positive, metavar="N", help="images at a time (default: as trained)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Evaluates and prints one line of JSON.

    Args:
      arguments: the flags.
    """
    from n2uq_jax.progress import PATIENCE, progress_bar

    options = {"data_dir": arguments.data_dir, "batch_size": arguments.batch_size}
    if arguments.artifact is not None:
        if arguments.stage or arguments.best:
            raise ValueError("--stage and --best go with --workdir: an artifact has one network.")
        from n2uq_jax.export.workdir import evaluate_artifact

        with progress_bar(after=PATIENCE) as progress:
            metrics = evaluate_artifact(
                arguments.artifact, engine=arguments.engine, progress=progress, **options
            )
    else:
        if arguments.engine != "xla":
            raise ValueError("--engine goes with --artifact: a workdir's network runs in XLA.")
        from n2uq_jax.training.evaluation import evaluate_workdir

        with progress_bar(after=PATIENCE) as progress:
            metrics = evaluate_workdir(
                arguments.workdir,
                stage=arguments.stage,
                best=arguments.best,
                progress=progress,
                **options,
            )
    print(json.dumps(metrics))
