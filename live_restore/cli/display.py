"""The live terminal display: arrived, restored, waiting, delay, speed, device, warnings."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from live_restore.engine.daemon import STOPPING, Daemon, Status
from live_restore.engine.progress import WAITING, Snapshot
from live_restore.errors import one_line
from live_restore.journal.states import State

_REFRESH_S = 0.25
_REASONS_SHOWN = 6


# File names go in as Text: what looks like rich's markup in them must stay what it is.
def render(status: Status, snapshot: Snapshot, *, ended: bool = False) -> RenderableType:
    """Return the display of one moment; ``ended``: of the last one, which stays on the screen."""
    counts = status.counts
    waiting = counts[State.WAITING] + counts[State.RUNNING]
    grid = Table.grid(padding=(0, 3))
    grid.add_column(justify="right", style="bold")
    grid.add_column()
    grid.add_column(justify="right", style="bold")
    grid.add_column()
    arrived = sum(counts.values())
    delay = "–" if snapshot.delay_s is None else _duration(snapshot.delay_s)
    speed = "–" if snapshot.mvoxel_per_s is None else f"{snapshot.mvoxel_per_s:.2f} Mvoxel/s"
    bad = counts[State.FAILED] + counts[State.REFUSED] + counts[State.INCOMPLETE]
    restored = Text(str(counts[State.DONE]))
    if status.doubtful:
        restored.append(f" ({status.doubtful} doubtful)", style="yellow")
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
        for line in status.account[:_REASONS_SHOWN]
    ]
    title = Text(f"live-restore · {one_line(status.root)}")
    hint = "ended" if ended else STOPPING if snapshot.stopping else "Ctrl-C stops"
    subtitle = Text(f"{_duration(snapshot.running_s)} · {hint}", style="dim")
    return Panel(Group(grid, *warnings), title=title, subtitle=subtitle, title_align="left")


def _plain(text: str) -> Text:
    """Return text as it is: square brackets in a file name are no markup."""
    return Text(one_line(text))


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


@contextmanager
def live_display(daemon: Daemon) -> Iterator[Callable[[], None]]:
    """Show the display while the block runs; call the value to bring it up to date."""
    console = Console(stderr=True)
    with Live(
        render(daemon.status(), daemon.progress.snapshot()), console=console, refresh_per_second=4
    ) as live:
        shown_at = 0.0

        def tick() -> None:
            nonlocal shown_at
            now = time.monotonic()
            if now - shown_at < _REFRESH_S:
                return
            shown_at = now
            live.update(render(daemon.status(), daemon.progress.snapshot()))

        yield tick
        live.update(render(daemon.status(), daemon.progress.snapshot(), ended=True))


def wants_display() -> bool:
    """Return whether there is a person at a terminal to show it to."""
    return sys.stderr.isatty()
