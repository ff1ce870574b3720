"""Processes that run beside the daemon: how they live, and what they know of its settings."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from live_restore.errors import LiveRestoreError
from live_restore.hooks.leash import end

if TYPE_CHECKING:
    from live_restore.settings.model import Settings

_CLOSE_S = 5.0


@contextmanager
def running_beside(
    what: str,
    command: Sequence[str],
    root: Path,
    settings: Settings,
    report: Callable[[str], None] | None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process on a leash while the block runs; what becomes of it is nobody's concern.

    Parameters
    ----------
    what, command
        What it is, for people, and what it runs.
    root, settings
        The watched folder, and the daemon's settings.
    report
        Gets the lines that it prints, from another thread; ``None``: it prints them itself.

    Raises
    ------
    LiveRestoreError
        It cannot be started.
    """
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=None if report is None else subprocess.PIPE,
            env=variables_for(settings),
        )
    except OSError as error:
        raise LiveRestoreError(f"{what} cannot be started ({error})", root) from error
    if report is not None:
        threading.Thread(
            target=_pass_on, args=(child, report), name=f"words of {what}", daemon=True
        ).start()
    try:
        yield child
    finally:
        end(child, _CLOSE_S)


def _pass_on(child: subprocess.Popen[bytes], report: Callable[[str], None]) -> None:
    assert child.stdout is not None
    with child.stdout:
        for line in child.stdout:
            report(line.decode("utf-8", "replace").strip())


def variables_for(settings: Settings) -> dict[str, str]:
    """Return the environment of such a process: it finds the same journal, and the same stacks."""
    variables = {
        **os.environ,
        "LIVE_RESTORE_FILES__UNDECLARED_AXIS": settings.files.undeclared_axis,
        "LIVE_RESTORE_FILES__INTERLEAVED_CHANNELS": str(settings.files.interleaved_channels),
        "LIVE_RESTORE_INFERENCE__DEVICE": settings.inference.device,
    }
    if settings.files.plane_pattern is not None:
        variables["LIVE_RESTORE_FILES__PLANE_PATTERN"] = settings.files.plane_pattern
    if settings.journal.folder is not None:
        variables["LIVE_RESTORE_JOURNAL__FOLDER"] = str(settings.journal.folder)
    return variables
