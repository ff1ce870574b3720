"""What a journal says about itself: when its folder was last watched, and how that ended.

::

    begin_run ──> (paused, newest first ...) ──> end_run(why)
        └──(killed, or the power went: there is a beginning, no end, and nobody holds the lock)
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from live_restore.errors import one_line
from live_restore.files.values import number
from live_restore.journal import schema
from live_restore.journal.database import Database

_STARTED, _ENDED, _WHY = "run_started_at", "run_ended_at", "run_end"
_PAUSED, _NEWEST_FIRST = "paused", "newest_first"
_UNMEASURED = "unmeasured_models"
_LONGEST = 700


@dataclass(frozen=True)
class RunRecord:
    """The last time that the folder was watched.

    Parameters
    ----------
    started_at, ended_at
        When (s since 1970); ``None`` where it is not known, or has not ended in an orderly way.
    end
        Why it ended, in words; "" where nobody recorded that.
    paused, newest_first
        What a person has asked of the process that watches now.
    unmeasured
        What to know of its models without an envelope; "" where all have one.
    """

    started_at: float | None = None
    ended_at: float | None = None
    end: str = ""
    paused: bool = False
    newest_first: bool = False
    unmeasured: str = ""

    def how_it_ended(self, *, watched: bool) -> str:
        """Return why nobody watches any more; "" while somebody does, or where nothing is known.

        Examples
        --------
        >>> RunRecord(1.0, 2.0, "stopped by Ctrl-C").how_it_ended(watched=False)
        'stopped by Ctrl-C'
        >>> RunRecord(1.0).how_it_ended(watched=False)
        'its process was killed, or the computer went off'
        """
        if watched or self.started_at is None:
            return ""
        if self.ended_at is None:
            return "its process was killed, or the computer went off"
        return self.end


class Facts:
    """Reads and keeps them; raises ``LiveRestoreError`` and ``JournalError`` as the journal does.

    Parameters
    ----------
    database
        Of the journal; may be open for reading only.
    """

    def __init__(self, database: Database) -> None:
        self._file = database

    def last_run(self) -> RunRecord:
        """Return what is known about the last run."""
        with self._file.reading() as db:
            found = {
                name: schema.fact(db, name)[:_LONGEST]
                for name in (_STARTED, _ENDED, _WHY, _PAUSED, _NEWEST_FIRST, _UNMEASURED)
            }
        return RunRecord(
            number(found[_STARTED]),
            number(found[_ENDED]),
            one_line(found[_WHY]),
            found[_PAUSED] == "yes",
            found[_NEWEST_FIRST] == "yes",
            one_line(found[_UNMEASURED]),
        )

    def begin_run(self, *, newest_first: bool, unmeasured: str = "") -> None:
        """Keep that a process watches from now on, and what to know of its models."""
        began = {_STARTED: repr(time.time()), _ENDED: "", _WHY: "", _PAUSED: "no"}
        began[_UNMEASURED] = unmeasured[:_LONGEST]
        self._remember(began)
        self.asked(paused=False, newest_first=newest_first)

    def asked(self, *, paused: bool, newest_first: bool) -> None:
        """Keep what a person has asked for."""
        yes = {True: "yes", False: "no"}
        self._remember({_PAUSED: yes[paused], _NEWEST_FIRST: yes[newest_first]})

    def end_run(self, why: str) -> None:
        """Keep that it has ended, and why."""
        self._remember({_ENDED: repr(time.time()), _WHY: one_line(why)[:_LONGEST]})

    def _remember(self, facts: dict[str, str]) -> None:
        with self._file.transaction():
            for name, value in facts.items():
                self._file.remember(name, value)
