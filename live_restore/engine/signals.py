"""Signals that end a program: the first one asks, a second one of its kind ends it at once.

On Windows it is asked, too, when its window is closed, its user logs off, or the computer shuts
down. Windows then gives it about five seconds, after which the stack in hand is left to the next
start; the journal knows.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

Handler = Callable[[int, FrameType | None], None]

if sys.platform == "win32":
    import ctypes
    import functools
    import time
    from ctypes import wintypes

    # CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT
    _ENDING_EVENTS = (2, 5, 6)
    # Longer than Windows waits: 5 s, and 20 s at the most.
    _LONG_S = 60.0

    @ctypes.WINFUNCTYPE(wintypes.BOOL, wintypes.DWORD)
    def _on_console_event(event: int) -> bool:
        """Ask the program to stop, in a thread that Windows makes for it, and leave it the time."""
        if event not in _ENDING_EVENTS:
            return False
        signal.raise_signal(signal.SIGBREAK)
        # Windows ends the process as soon as this returns; the process that ends ends this.
        time.sleep(_LONG_S)
        return True

    @functools.cache
    def _listen_to_the_console() -> None:
        """Have Windows call the above; once, since to remove it would wait until it returns."""
        ctypes.WinDLL("kernel32").SetConsoleCtrlHandler(_on_console_event, True)
else:

    def _listen_to_the_console() -> None:
        """Elsewhere, all that ends a program is a signal by itself."""


@contextmanager
def stopping_on_signals(stop: Callable[[str], None]) -> Iterator[Callable[[], int]]:
    """Let Ctrl-C, SIGTERM, a closed terminal and Ctrl-Break call ``stop`` while the block runs.

    Gives what returns the exit code of a program whose work is then not done; 0: there was none.

    Parameters
    ----------
    stop
        Gets why, in words. Must return at once and wait for no lock: the thread that it
        interrupts may hold that lock.
    """

    code = 0

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal code
        del frame
        code = code or _exit_code(number)
        why = _LET_GO if _let_go.is_set() else _WORDS[number]
        # A terminal that is gone sends its signal more than once; none of them is a second wish.
        signal.signal(number, signal.SIG_IGN if number in _TERMINAL_GONE else signal.SIG_DFL)
        stop(why)

    # Whoever started it with nohup has ignored that signal, and means it.
    gone = [each for each in _TERMINAL_GONE if signal.getsignal(each) is not signal.SIG_IGN]
    with _handling([signal.SIGINT, *_ending(), *gone], ask):
        yield lambda: code


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Let SIGTERM and Ctrl-Break unwind the block as Ctrl-C does: nothing half-written stays.

    Raises
    ------
    SystemExit
        In the block, with 143 after SIGTERM and 130 after Ctrl-Break.
    """

    def end(number: int, frame: FrameType | None) -> None:
        del frame
        signal.signal(number, signal.SIG_DFL)
        raise SystemExit(_exit_code(number))

    with _handling(_ending(), end):
        yield


def end_as_let_go() -> None:
    """Raise the signal that ends this program, and have it told as what it is.

    For a thread that sees that whoever holds its leash has let go.
    """
    _let_go.set()
    if sys.platform == "win32":
        signal.raise_signal(signal.SIGBREAK)
    else:
        os.kill(os.getpid(), signal.SIGTERM)


def _of_this_system(words: dict[str, str]) -> dict[int, str]:
    return {
        int(getattr(signal, name)): said for name, said in words.items() if hasattr(signal, name)
    }


_WORDS = _of_this_system(
    {
        "SIGINT": "stopped by Ctrl-C",
        "SIGTERM": "asked to end by another program (SIGTERM)",
        "SIGHUP": "its terminal was closed",
        "SIGBREAK": "its window was closed, or stopped by Ctrl-Break",
    }
)
_LET_GO = "the program that started it has ended, or asked it to stop"
_let_go = threading.Event()
_TERMINAL_GONE = tuple(_of_this_system({"SIGHUP": ""}))


def _exit_code(number: int) -> int:
    """Return the code that a shell gives a program which a signal ended; Ctrl-Break is Ctrl-C."""
    return 128 + (signal.SIGINT if number == getattr(signal, "SIGBREAK", 0) else number)


def _ending() -> list[int]:
    numbers: list[int] = [signal.SIGTERM]
    if hasattr(signal, "SIGBREAK"):  # Ctrl-Break, and the closing of the window, on Windows
        numbers.append(signal.SIGBREAK)
    return numbers


@contextmanager
def _handling(numbers: list[int], handler: Handler) -> Iterator[None]:
    before = [(number, signal.signal(number, handler)) for number in numbers]
    _listen_to_the_console()
    try:
        yield
    finally:
        for number, former in before:
            signal.signal(number, former)
