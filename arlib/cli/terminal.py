"""What commands print to: tables and sentences on standard output, a bar and their pace while pictures pass."""

import contextlib
import os
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if os.environ.get("COLUMNS", "").isdecimal() and not int(os.environ["COLUMNS"]):
    del os.environ["COLUMNS"]  # some terminals don't know their width and say 0, and tables of that width are empty

console = Console(markup=False, emoji=False)  # names of files are as they are


class Meter:
    """How many pictures have passed, and how fast."""

    def __init__(self, progress: Progress, doing: str, total: int):
        self.progress, self.task = progress, progress.add_task(doing, total=total)
        self.count, self.begun, self.seconds = 0, time.perf_counter(), 0.0

    def advance(self, count: int) -> None:
        """So many more pictures are done."""
        self.count += count
        self.seconds = time.perf_counter() - self.begun
        self.progress.advance(self.task, count)

    @property
    def pace(self) -> str:
        """In words, until the last pictures: "12.3 pictures a second"."""
        return pace(self.count, self.seconds)


def pace(count: int, seconds: float) -> str:
    """ "12.3 pictures a second"."""
    return f"{count / max(seconds, 1e-9):,.1f} pictures a second"


@contextlib.contextmanager
def metered(doing: str, total: int) -> Iterator[Meter]:
    """A bar on standard error, where that is a terminal, for as long as `total` pictures take, and their `Meter`."""
    # While a bar is shown, what anybody writes passes through its console: names in it stay as they are.
    screen = Console(stderr=True, markup=False, emoji=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
        yield Meter(progress, doing, total)
