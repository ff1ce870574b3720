"""What a person sees of a run: a live line at a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Protocol

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


def gains(raw_db: float, restored_db: float, raw_ssim: float, restored_ssim: float) -> str:
    """Return PSNR (dB) and SSIM before and after, for people."""
    return f"PSNR {raw_db:.2f} -> {restored_db:.2f} dB  SSIM {raw_ssim:.3f} -> {restored_ssim:.3f}"


@dataclass(frozen=True)
class Record:
    """One validation: a line of ``log.jsonl``.

    ``loss`` is the mean since the last one; PSNR (dB) and SSIM are means over the validation
    patches, raw and restored by the averaged weights.
    """

    step: int
    total: int
    minutes: float
    loss: float
    learning_rate: float
    raw_db: float
    restored_db: float
    raw_ssim: float
    restored_ssim: float

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @property
    def numbers(self) -> str:
        """The numbers, for people."""
        return f"loss {self.loss:.4f}  " + gains(
            self.raw_db, self.restored_db, self.raw_ssim, self.restored_ssim
        )


class Display(Protocol):
    """Shows a run."""

    def say(self, line: str) -> None:
        """Show one line that stays."""
        ...

    def step(self, step: int, total: int) -> None:
        """Show how far it is; called at every step."""
        ...

    def validated(self, record: Record) -> None:
        """Show a validation."""
        ...


def _print_plain(console: Console, line: str) -> None:
    """Print names as they are: square brackets in one are no markup."""
    console.print(one_line(line), markup=False, emoji=False, highlight=False, soft_wrap=True)


class PlainDisplay:
    """Prints a line per validation, on stdout: for logs and batch queues."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, line: str) -> None:
        """Print it."""
        _print_plain(self._console, line)

    def step(self, step: int, total: int) -> None:
        """Print nothing: a log of every step is read by nobody."""

    def validated(self, record: Record) -> None:
        """Print how far it is, how long it will take, and the numbers."""
        left = record.minutes / record.step * (record.total - record.step)
        self.say(
            f"step {record.step}/{record.total}  {record.numbers}  "
            f"{record.minutes:.1f} min, {left:.1f} min left"
        )


class LiveDisplay:
    """Keeps a bar with the numbers of the last validation at the bottom of a terminal."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("training", total=None, numbers="")

    def say(self, line: str) -> None:
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
