"""What a person asks of the running daemon: to pause, to go on, to restore the newest first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import structlog

from live_restore.engine.progress import Progress
from live_restore.errors import JournalError
from live_restore.journal.facts import Facts
from live_restore.journal.wishes import Wish, take_wishes

log = structlog.get_logger()


@dataclass
class Orders:
    """What was asked for; written by the main thread, read by others, each attribute by itself.

    Parameters
    ----------
    newest_first
        Whether what was complete last is leased first.
    paused
        Whether nothing new is leased. What is in hand is finished.
    """

    newest_first: bool = False
    paused: bool = False


class Control:
    """Takes wishes, and keeps them for displays; a new process begins without any.

    Parameters
    ----------
    folder
        Where wishes are left.
    facts
        Where it is kept for displays.
    progress
        Told where wishes cannot be read.
    orders
        What holds so far.
    since_ns
        What was asked for before was asked of another process (ns since 1970).
    """

    def __init__(
        self, folder: Path, facts: Facts, progress: Progress, orders: Orders, since_ns: int
    ) -> None:
        self._folder = folder
        self._facts = facts
        self._progress = progress
        self._since_ns = since_ns
        self._unrecorded = False
        self.orders = orders

    def poll(self) -> None:
        """See what is asked for, and do it; raises nothing that a disk can cause."""
        for wish in self._take():
            if wish in (Wish.PAUSE, Wish.RESUME):
                self.orders.paused = wish is Wish.PAUSE
            else:
                self.orders.newest_first = wish is Wish.NEWEST_FIRST
            self._unrecorded = True
            log.info("asked for", wish=wish.value)
        if self._unrecorded:
            try:
                self._facts.asked(paused=self.orders.paused, newest_first=self.orders.newest_first)
                self._unrecorded = False
            except JournalError as error:  # it holds all the same; displays hear of it later
                self._progress.warn(error.reason)

    def _take(self) -> list[Wish]:
        try:
            return take_wishes(self._folder, self._since_ns)
        except OSError as error:
            self._progress.warn(f"{self._folder}: what is asked for cannot be read ({error})")
            return []
