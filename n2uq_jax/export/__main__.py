"""``python -m n2uq_jax.export`` is ``n2uq export``."""

import sys

from n2uq_jax.cli.command import run

if __name__ == "__main__":
    sys.exit(run(["export", *sys.argv[1:]]))
