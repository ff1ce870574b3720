"""That people cannot be told, where the daemon's screen and ``status`` find it."""

from __future__ import annotations

from pathlib import Path

from live_restore.errors import one_line
from live_restore.files.publish import publish_text, remove_for_good
from live_restore.files.reading import open_regular

_MOST_CHARACTERS = 2000


class AlertProblem:
    """A file beside the journal: why nobody was told, for as long as that is so.

    Alerts run in a process of their own, which only reads the journal.

    Parameters
    ----------
    journal
        The journal's file.
    """

    def __init__(self, journal: Path) -> None:
        self.path = journal.with_suffix(".alerts.problem")
        self._known: tuple[int, int] | None = None

    def write(self, problem: str) -> None:
        """Keep a problem, "" for none; raises ``OSError`` or ``OutputError``."""
        if not problem:
            remove_for_good(self.path)
        elif problem != self.read():
            publish_text(self.path, problem)

    def read(self) -> str:
        """Return the problem, "" for none."""
        try:
            with open_regular(self.path) as file:
                return one_line(file.read(_MOST_CHARACTERS).decode("utf-8", "replace"))
        except OSError:
            return ""

    def new(self) -> str:
        """Return the problem if it has changed since this was asked last, else ""."""
        try:
            status = self.path.stat()
        except OSError:
            self._known = None
            return ""
        known, self._known = self._known, (status.st_ino, status.st_mtime_ns)
        return self.read() if known != self._known else ""
