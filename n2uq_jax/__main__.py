"""``python -m n2uq_jax`` is ``n2uq``."""

import sys

from n2uq_jax.cli.command import run

if __name__ == "__main__":
    sys.exit(run())
