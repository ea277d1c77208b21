"""How far something has come that takes long."""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Progress = Callable[[str, int, int], None]
"""``progress(what, done, total)`` is called as the work goes on."""

PATIENCE = 3.0
"""Seconds after which one wants to see what goes on."""

T = TypeVar("T")


def silent(what: str, done: int, total: int) -> None:
    """The :data:`Progress` that nobody sees."""


@contextlib.contextmanager
def progress_bar(after: float = 0.0) -> Iterator[Progress]:
    """Shows a bar for each step of the work, on the terminal's error stream.

    Args:
      after: seconds until the first bar; whoever is done before shows none.

    Yields:
      What functions take as ``progress``.
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
    started = threading.Event()

    def start() -> None:
        started.set()
        bars.start()

    timer = threading.Timer(after, start)
    timer.daemon = True
    if after:
        timer.start()

    def progress(what: str, done: int, total: int) -> None:
        if not after and not started.is_set():
            start()
        if what not in tasks:
            tasks[what] = bars.add_task(what, total=total)
        bars.update(tasks[what], completed=done, total=total)  # type: ignore[arg-type]

    try:
        yield progress
    finally:
        timer.cancel()
        if after:
            timer.join()  # it may be starting the bar just now
        if started.is_set():  # work that never began shows its error alone
            bars.stop()


@contextlib.contextmanager
def shown(progress: Progress | None) -> Iterator[Progress]:
    """Chooses who is told about the work of a function.

    Args:
      progress: what the caller gave; None for a bar in a terminal or a notebook, once the work has
        taken :data:`PATIENCE` seconds.

    Yields:
      A :data:`Progress`.
    """
    if progress is not None or not _is_watched():
        yield progress or silent
        return
    with progress_bar(after=PATIENCE) as bar:
        yield bar


def counted(items: Iterable[T], what: str, total: int, progress: Progress) -> Iterator[T]:
    """Passes items on and tells how many are done.

    Args:
      items: to be worked on one after another.
      what: what is done.
      total: how many items there are.
      progress: is told.

    Yields:
      The items.
    """
    for number, item in enumerate(items):
        progress(what, number, total)
        yield item
    progress(what, total, total)


def _is_watched() -> bool:
    try:
        from rich.console import Console
    except ImportError:
        return False
    console = Console(stderr=True)
    return console.is_terminal or console.is_jupyter
