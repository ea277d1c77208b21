"""``python -m n2uq_jax.report`` is ``n2uq report``."""

import sys

from n2uq_jax.cli.command import run

if __name__ == "__main__":
    sys.exit(run(["report", *sys.argv[1:]]))
