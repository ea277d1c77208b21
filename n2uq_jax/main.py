"""``python -m n2uq_jax.main`` is ``n2uq train``."""

import sys

from n2uq_jax.cli.command import run

if __name__ == "__main__":
    sys.exit(run(["train", *sys.argv[1:]]))
