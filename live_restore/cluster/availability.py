"""Whether anybody restores elsewhere: reported when it changes, and not for every stack."""

from __future__ import annotations

import threading
from collections.abc import Callable

Report = Callable[[str], None]
"""Takes a line that a person must see."""


class Availability:
    """Says once that nobody is there, and once that somebody is again.

    Parameters
    ----------
    report
        Where to.
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        self._lock = threading.Lock()
        self._said = ""

    def nobody(self, reason: str, *, waits: bool) -> None:
        """Nobody restores elsewhere, because of ``reason``."""
        with self._lock:
            if reason == self._said:
                return
            self._said = reason
        self.report(f"{reason}; {'stacks wait' if waits else 'restoring on this computer'}")

    def again(self, address: str) -> None:
        """Somebody restores there."""
        with self._lock:
            before, self._said = self._said, ""
        if before:
            self.report(f"{address} restores again")
