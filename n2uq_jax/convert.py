"""``python -m n2uq_jax.convert`` is ``n2uq import``."""

import sys

from n2uq_jax.cli.command import run

if __name__ == "__main__":
    sys.exit(run(["import", *sys.argv[1:]]))
