"""What the threads wait for, so that a file system that does not answer is seen."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

# A disk that spins up, or a share under load, answers within this (s).
_LONG_S = 30.0


class Waits:
    """Knows for which answers of a file system somebody waits, and since when; from any thread."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._since: dict[str, float] = {}

    @contextmanager
    def waiting_for(self, what: str) -> Iterator[None]:
        """Say what is waited for while the block runs, such as "reading a.tif"."""
        with self._mutex:
            self._since[what] = time.monotonic()
        try:
            yield
        finally:
            with self._mutex:
                self._since.pop(what, None)

    def hanging(self) -> tuple[str, ...]:
        """Return, one line each, what has been waited for very long."""
        now = time.monotonic()
        with self._mutex:
            waited = [(what, now - since) for what, since in self._since.items()]
        return tuple(
            f"{what} has taken {_duration(seconds)}; check the disk or the network"
            for what, seconds in waited
            if seconds > _LONG_S
        )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
