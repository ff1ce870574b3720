"""The seam behind which sources live: who says which stacks are complete."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Source(Protocol):
    """Names complete stacks to the journal; cheap, and never in the way of the microscope."""

    def poll(self, *, hurry: bool = False) -> float:
        """Look once, record what is new, and return when to look again (s from now).

        ``hurry``: nobody will look much longer, so decide about unfinished runs as soon as they
        have been quiet for a while.

        Raises
        ------
        JournalError
            What was found could not be recorded just now; nothing is lost, poll again.
        """
        ...

    def hint(self, path: Path) -> None:
        """Something may have happened to ``path``; called from any thread, returns at once."""
        ...

    def wait(self, timeout_s: float) -> None:
        """Sleep until a hint arrives, at most ``timeout_s``."""
        ...

    def undecided(self) -> int:
        """Return how many files and stacks only need a little more quiet to be decided about."""
        ...

    def reconsider(self, source: Path) -> None:
        """Look at a file anew although it was settled; called from any thread, returns at once."""
        ...
