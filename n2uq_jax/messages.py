"""Which log messages the commands show."""

import logging

from absl import logging as absl_logging


def show_messages(level: int = logging.WARNING) -> None:
    """Shows this library's messages, and of all others errors alone.

    Orbax speaks of every checkpoint, and absl would silence us together with it.

    Args:
      level: the least level of ours that is shown.
    """
    absl_logging.set_verbosity(absl_logging.ERROR)
    logging.getLogger("n2uq_jax").setLevel(level)
