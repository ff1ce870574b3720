"""The live terminal display: arrived, restored, waiting, delay, speed, device, what went wrong."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from live_restore.cli.parsing import duration
from live_restore.engine.daemon import STOPPING, Daemon
from live_restore.engine.progress import WAITING, Snapshot
from live_restore.engine.status import Status
from live_restore.errors import one_line
from live_restore.journal.states import State

try:
    import termios
except ImportError:  # Windows, whose console echoes no Ctrl-C
    termios = None  # type: ignore[assignment]

_REFRESH_S = 0.25
_REASONS = 6


# File names go in as Text: what looks like rich's markup in them must stay what it is.
def render(
    status: Status, snapshot: Snapshot, notices: Sequence[str] = (), *, ended: bool = False
) -> RenderableType:
    """Return the display of one moment; ``ended``: of the last one, which stays on the screen."""
    counts = status.counts
    waiting = counts[State.WAITING] + counts[State.RUNNING]
    grid = Table.grid(padding=(0, 3))
    grid.add_column(justify="right", style="bold")
    grid.add_column()
    grid.add_column(justify="right", style="bold")
    grid.add_column()
    arrived = sum(counts.values())
    delay = "–" if snapshot.delay_s is None else duration(snapshot.delay_s)
    speed = "–" if snapshot.mvoxel_per_s is None else f"{snapshot.mvoxel_per_s:.2f} Mvoxel/s"
    bad = counts[State.FAILED] + counts[State.REFUSED] + counts[State.INCOMPLETE]
    restored = Text(str(counts[State.DONE]))
    if status.doubtful:
        restored.append(f" ({status.doubtful} doubtful)", style="yellow")
    if status.doubtful_brightness:
        restored.append(f" ({status.doubtful_brightness} for measuring brightness)", style="dim")
    grid.add_row("arrived", str(arrived), "restored", restored)
    grid.add_row(
        "arriving",
        str(counts[State.ARRIVING]),
        "waiting",
        Text(str(waiting), style="yellow" if waiting > 3 else ""),
    )
    grid.add_row("delay", delay, "speed", speed)
    grid.add_row(
        "device", _plain(", ".join(status.devices) or "–"),
        "model", _plain(", ".join(status.models) or "–"),
    )  # fmt: skip
    grid.add_row(
        "now", _plain(WAITING if status.waiting else snapshot.current or "nothing to do"),
        "not restored", Text(str(bad), style="red" if bad else ""),
    )  # fmt: skip
    warnings = [
        Text(f"! {one_line(w)}", style="yellow", overflow="fold") for w in snapshot.warnings
    ]
    warnings += [
        Text(f"· {one_line(line)}", style="dim", overflow="fold")
        for line in (*snapshot.notes, *status.account[:_REASONS])
    ]
    told = [Text(one_line(each), style="cyan", overflow="fold") for each in notices]
    title = Text(f"live-restore · {one_line(status.root)}")
    hint = "paused; Ctrl-C stops" if status.paused else "Ctrl-C stops"
    if ended or snapshot.stopping:
        hint = "ended" if ended else STOPPING
    subtitle = Text(f"{duration(snapshot.running_s)} · {hint}", style="dim")
    return Panel(
        Group(grid, *told, *warnings),
        title=title,
        subtitle=subtitle,
        title_align="left",
    )


def _plain(text: str) -> Text:
    """Return text as it is: square brackets in a file name are no markup."""
    return Text(one_line(text))


class _Terminal:
    """A terminal that may be closed while it is written to: then what is shown is lost, no more.

    rich draws from a thread of its own, in which an error would end nothing but the display, in
    the middle of a line.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._gone = False

    def write(self, text: str) -> int:
        """Write while there is somebody to read it."""
        if not self._gone:
            try:
                return self._stream.write(text)
            except OSError:
                self._gone = True
        return len(text)

    def flush(self) -> None:
        """Flush while there is somebody to read it."""
        if not self._gone:
            try:
                self._stream.flush()
            except OSError:
                self._gone = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def live_display(
    daemon: Daemon, notices: Sequence[str] = (), stream: TextIO | None = None
) -> Iterator[Callable[[], None]]:
    """Show the display while the block runs; call the value to bring it up to date.

    Parameters
    ----------
    daemon
        Whose state it is.
    notices
        Lines for a person that may come in meanwhile, such as the address of the page.
    stream
        Where to; ``None``: stderr.
    """

    def now(*, ended: bool = False) -> RenderableType:
        return render(daemon.status(), daemon.progress.snapshot(), tuple(notices), ended=ended)

    terminal = _Terminal(sys.stderr if stream is None else stream)
    console = Console(file=cast("TextIO", terminal))
    with (
        _no_echo_of_keys(),
        Live(now(), console=console, refresh_per_second=4, redirect_stderr=False) as live,
    ):
        shown_at = 0.0

        def tick() -> None:
            nonlocal shown_at
            at = time.monotonic()
            if at - shown_at < _REFRESH_S:
                return
            shown_at = at
            live.update(now())

        yield tick
        live.update(now(ended=True))


@contextmanager
def _no_echo_of_keys() -> Iterator[None]:
    """Keep the terminal from writing ``^C`` into the display, which then stood there twice."""
    if termios is None or not sys.stdin.isatty() or not _in_foreground():
        yield
        return
    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)
    quiet = [*before]
    quiet[3] &= ~termios.ECHOCTL
    termios.tcsetattr(number, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        with suppress(termios.error):  # the terminal may be gone
            if _in_foreground():
                termios.tcsetattr(number, termios.TCSANOW, before)


def _in_foreground() -> bool:
    """Return whether the terminal is this program's; who sets it from the background is stopped."""
    if sys.platform == "win32":
        return False
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except OSError:  # one that sends no signals, or is gone
        return True


def wants_display() -> bool:
    """Return whether there is a person at a terminal to show it to."""
    return sys.stderr.isatty()
