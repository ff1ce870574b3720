"""The leash of a child process: its standard input, whose other end its parent holds.

A pipe closes on every operating system when its other end dies, so no child outlives a killed
parent unnoticed, and asking it to stop needs no signal that Windows does not have.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

PYTHON = (sys.executable, "-P", "-m")
"""How children are started: not with modules of the current folder, which may be one of data."""
_LOOK_S = 0.1
# What was killed leaves at once, unless the disk holds it inside the system.
_KILLED_S = 2.0


def leashed(words: Sequence[str]) -> list[str]:
    """Return the command that runs the words of a command line of this program on a leash."""
    return [*PYTHON, "live_restore.cli.leash", *words]


def let_go(child: subprocess.Popen[bytes]) -> None:
    """Ask a child to stop: let go of its leash, once or again."""
    assert child.stdin is not None
    with suppress(OSError):
        child.stdin.close()


def end(child: subprocess.Popen[bytes], patience_s: float) -> bool:
    """Ask a child to stop, and kill it where it does not; return whether it obeyed.

    Parameters
    ----------
    child
        Started with a pipe as its standard input.
    patience_s
        How long it may take to obey.
    """
    let_go(child)
    try:
        child.wait(patience_s)
    except subprocess.TimeoutExpired:
        child.kill()
        with suppress(subprocess.TimeoutExpired):
            child.wait(_KILLED_S)
        return False
    return True


if sys.platform == "win32":
    import ctypes
    import msvcrt
    from ctypes import wintypes

    def wait_until_dropped() -> None:
        """Return when the parent lets go, or dies."""
        # Windows lets a pipe do one thing at a time: while a thread waits in a read, whoever only
        # asks what standard input is waits, too, and libraries ask when they are loaded. numpy
        # never was. To look whether the other end is open takes no time.
        peek = ctypes.WinDLL("kernel32").PeekNamedPipe
        peek.argtypes = (
            wintypes.HANDLE, wintypes.LPVOID, wintypes.DWORD, wintypes.LPDWORD, wintypes.LPDWORD,
            wintypes.LPDWORD,
        )  # fmt: skip
        pipe, waiting = msvcrt.get_osfhandle(0), wintypes.DWORD()
        while peek(pipe, None, 0, None, ctypes.byref(waiting), None):
            if waiting.value:
                os.read(0, waiting.value)
            time.sleep(_LOOK_S)
else:

    def wait_until_dropped() -> None:
        """Return when the parent lets go, or dies."""
        # Not through sys.stdin: its lock, held by a daemon thread, aborts the shutdown of Python.
        while os.read(0, 4096):
            pass


def when_dropped(act: Callable[[], object]) -> None:
    """Call ``act``, in a thread of its own, when the parent lets go, or dies."""

    def wait() -> None:
        wait_until_dropped()
        act()

    threading.Thread(target=wait, name="leash", daemon=True).start()


def end_when_dropped() -> None:
    """End this process at once when the parent lets go; what it writes has a temporary name."""
    when_dropped(lambda: os._exit(0))
