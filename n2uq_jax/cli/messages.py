"""Which log messages the commands show."""

import contextlib
import logging
import sys
from collections.abc import Iterator

OURS = "n2uq_jax"


@contextlib.contextmanager
def show_messages() -> Iterator[None]:
    """Shows this library's messages on standard error, and of all others errors alone.

    Orbax speaks of every checkpoint, absl and JAX of what they did not find.

    Yields:
      Nothing; afterwards logging is as it was.
    """
    from absl import logging as absl_logging

    root, ours = logging.getLogger(), logging.getLogger(OURS)
    levels = root.level, ours.level, absl_logging.get_verbosity()
    handler = _Handler()
    root.addHandler(handler)
    root.setLevel(logging.ERROR)
    ours.setLevel(logging.INFO)
    absl_logging.set_verbosity(absl_logging.ERROR)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(levels[0])
        ours.setLevel(levels[1])
        absl_logging.set_verbosity(levels[2])


class _Handler(logging.Handler):
    """Prints ``n2uq: warning: ...``, and what is no warning without such a head."""

    def emit(self, record: logging.LogRecord) -> None:
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        origin = "n2uq" if record.name.split(".")[0] == OURS else record.name
        print(f"{origin}: {level}{record.getMessage()}", file=sys.stderr)
