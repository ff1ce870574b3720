"""How a training shows itself: a live line at a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from live_restore.errors import one_line
from live_restore_export.training.progress import Display, Record


def _print_plain(console: Console, line: str) -> None:
    """Print names as they are: square brackets in one are no markup."""
    console.print(one_line(line), markup=False, emoji=False, highlight=False, soft_wrap=True)


class PlainDisplay:
    """Prints a line per validation, on stdout: for logs and batch queues."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def report(self, line: str) -> None:
        """Print it."""
        _print_plain(self._console, line)

    def step(self, step: int, total: int) -> None:
        """Print nothing: a log of every step is read by nobody."""

    def validated(self, record: Record) -> None:
        """Print how far it is, how long it will take, and the numbers."""
        left = record.minutes / record.step * (record.total - record.step)
        self.report(
            f"step {record.step}/{record.total}  {record.numbers}  "
            f"{record.minutes:.1f} min, {left:.1f} min left"
        )


class LiveDisplay:
    """Keeps a bar with the numbers of the last validation at the bottom of a terminal."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("training", total=None, numbers="")

    def report(self, line: str) -> None:
        """Print it above the bar."""
        _print_plain(self._progress.console, line)

    def step(self, step: int, total: int) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=step, total=total)

    def validated(self, record: Record) -> None:
        """Show the numbers beside the bar."""
        self._progress.update(self._task, numbers=record.numbers)


@contextmanager
def display(console: Console | None = None) -> Iterator[Display]:
    """Give what suits the console while the block runs; stdout where none is given."""
    console = console or Console()
    if not console.is_terminal:
        yield PlainDisplay(console)
        return
    with Progress(
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[numbers]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("left", markup=False),
        TimeRemainingColumn(),
        console=console,
        refresh_per_second=2,
    ) as progress:
        yield LiveDisplay(progress)
