"""How far an export has come."""

import contextlib
from collections.abc import Callable, Iterator

Progress = Callable[[str, int, int], None]
"""``progress(what, done, total)`` is called as the work goes on."""


def silent(what: str, done: int, total: int) -> None:
    """The :data:`Progress` that nobody sees."""


@contextlib.contextmanager
def progress_bar() -> Iterator[Progress]:
    """Shows a bar for each step of an export, on the terminal's error stream.

    Yields:
      What :func:`~n2uq_jax.export.exported.export_model` takes as ``progress``.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    bars = Bars(*columns, console=Console(stderr=True))
    tasks: dict[str, int] = {}

    def progress(what: str, done: int, total: int) -> None:
        bars.start()
        if what not in tasks:
            tasks[what] = bars.add_task(what, total=total)
        bars.update(tasks[what], completed=done, total=total)  # type: ignore[arg-type]

    try:
        yield progress
    finally:
        if tasks:  # an export that never began shows its error alone
            bars.stop()
