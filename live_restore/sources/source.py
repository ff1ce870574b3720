"""The seam behind which sources live: who finds out which stacks are complete.

::

    source = FolderSource(root, ...)        looks at nothing yet
    while not stopped:
        next_look_s = source.poll()         looks once, records what is new in the journal
        source.wait(next_look_s)            until a hint arrives, or it is time

A source never reads pixels and never waits for a result. What was found and turned out otherwise
when it was to be read comes back through :meth:`Source.reconsider`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from live_restore.journal.states import State
from live_restore.sources.passed_by import NotLookedAt
from live_restore.stack import StackKey


@dataclass(frozen=True)
class Callbacks:
    """Whom a source reports to, and what it asks.

    Parameters
    ----------
    on_bad
        Called with what turns out to be damaged (FAILED) or nothing to restore (REFUSED).
    warn
        Called with what a person should know at once.
    stopping
        Whether to leave off where it is; asked after every file.
    arrived
        Called when something is being written; returns at once.
    """

    on_bad: Callable[[StackKey, State], None] = lambda _, __: None
    warn: Callable[[str], None] = lambda _: None
    stopping: Callable[[], bool] = lambda: False
    arrived: Callable[[], None] = lambda: None


class Source(Protocol):
    """Names complete stacks to the journal; cheap, and never in the way of the microscope."""

    def poll(self, *, hurry: bool = False) -> float:
        """Look once, record what is new, and return when to look again (s from now).

        ``hurry``: nobody will look much longer, so decide about unfinished acquisitions as soon as
        they have been quiet for a while.

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

    def passed_by(self) -> tuple[NotLookedAt, ...]:
        """Return what is there and not looked at, by kind."""
        ...

    def reconsider(self, key: StackKey) -> None:
        """Look anew at what was settled; called from any thread, returns at once."""
        ...
