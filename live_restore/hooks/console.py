"""What the user of a script sees, and the lines that a child process hands to its parent.

The one file of this room that writes to the terminal: a script has no command line of ours.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


def say(what: str) -> None:
    """Show one line of ours."""
    show(f"live-restore: {what}")


def show(text: str) -> None:
    """Show text, unless there is nobody to show it to: no reason to fail an acquisition."""
    with suppress(OSError, ValueError):  # a terminal that is gone, a stream that is closed
        print(text, file=sys.stderr, flush=True)


@contextmanager
def progress_bar(total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar while the block runs, on a terminal only; the value takes how many are done."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("live-restore", total=total)

        def show_done(done: int) -> None:
            bar.update(task, completed=done)

        yield show_done


def emit(line: str) -> None:
    """Hand one line to the process that started this one."""
    print(line, file=sys.__stdout__, flush=True)


def keep_stdout_for_lines() -> None:
    """Send what libraries print to stderr: whoever started this process reads stdout."""
    sys.stdout = sys.stderr
