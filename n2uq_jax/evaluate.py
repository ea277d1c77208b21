"""``python -m n2uq_jax.evaluate`` is ``n2uq evaluate``."""

import sys

from n2uq_jax.cli.command import run

if __name__ == "__main__":
    sys.exit(run(["evaluate", *sys.argv[1:]]))
