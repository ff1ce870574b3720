"""What a journal says about itself: when its folder was last watched, and how that ended.

::

    begin_run ──> (paused, newest first ...) ──> end_run(why)
        └──(killed, or the power went: there is a beginning, no end, and nobody holds the lock)

The next beginning keeps that the one before ended badly, or nobody would know of it any more.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

from live_restore.errors import one_line
from live_restore.files.values import NotJsonError, json_object, number, text
from live_restore.journal import schema
from live_restore.journal.database import Database

_STARTED, _ENDED, _WHY = "run_started_at", "run_ended_at", "run_end"
_PAUSED, _NEWEST_FIRST = "paused", "newest_first"
_UNMEASURED = "unmeasured_models"
_BAD_ENDS = "bad_ends"
_LONGEST = 700
_LONGEST_END = 200
_LONGEST_ENDS = 20_000
_MOST_BAD_ENDS = 20
_KILLED = "its process was killed, or the computer went off"
NORMAL_ENDS = (
    "stopped by Ctrl-C", "asked to end", "all that was complete", "its terminal", "its window",
    "stopped by its program",
)  # fmt: skip
"""How the reasons begin that a person, or who started it, gave."""


@dataclass(frozen=True)
class BadEnd:
    """A watch that nobody meant to end, and that was not the last one.

    Parameters
    ----------
    began_at, over_at
        When it began, and when it ended, or, of one that was killed, when the next one began (s
        since 1970).
    why
        In words.
    """

    began_at: float
    over_at: float
    why: str

    @property
    def unseen(self) -> bool:
        """Whether nobody was left to see when it ended."""
        return self.why == _KILLED


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
    bad_ends
        Of the watches before it, those that ended badly, the latest last.
    """

    started_at: float | None = None
    ended_at: float | None = None
    end: str = ""
    paused: bool = False
    newest_first: bool = False
    unmeasured: str = ""
    bad_ends: tuple[BadEnd, ...] = ()

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
        return _KILLED if self.ended_at is None else self.end

    def bad_end(self, now: float) -> BadEnd | None:
        """Return how it ended, if nobody meant it to; ``now`` (s since 1970) another one begins.

        Examples
        --------
        >>> RunRecord(1.0).bad_end(9.0)
        BadEnd(began_at=1.0, over_at=9.0, why='its process was killed, or the computer went off')
        >>> RunRecord(1.0, 2.0, "stopped by Ctrl-C").bad_end(9.0) is None
        True
        """
        why = self.how_it_ended(watched=False)
        if self.started_at is None or not why or why.startswith(NORMAL_ENDS):
            return None
        return BadEnd(self.started_at, now if self.ended_at is None else self.ended_at, why)


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
            bad_ends = schema.fact(db, _BAD_ENDS)[:_LONGEST_ENDS]
        return RunRecord(
            number(found[_STARTED]),
            number(found[_ENDED]),
            one_line(found[_WHY]),
            found[_PAUSED] == "yes",
            found[_NEWEST_FIRST] == "yes",
            one_line(found[_UNMEASURED]),
            tuple(_bad_ends(bad_ends)),
        )

    def begin_run(self, *, newest_first: bool, unmeasured: str = "") -> None:
        """Keep that a process watches from now on, and what to know of its models."""
        now = time.time()
        before = self.last_run()
        began = {_STARTED: repr(now), _ENDED: "", _WHY: "", _PAUSED: "no"}
        began[_UNMEASURED] = unmeasured[:_LONGEST]
        if bad := before.bad_end(now):
            ends = [*before.bad_ends, bad][-_MOST_BAD_ENDS:]
            rows = [[each.began_at, each.over_at, each.why[:_LONGEST_END]] for each in ends]
            began[_BAD_ENDS] = json.dumps({"ends": rows})
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


def _bad_ends(stored: str) -> Iterator[BadEnd]:
    """Yield what is stored of bad ends; anybody may have written it."""
    try:
        rows = json_object(stored or "{}").get("ends")
    except NotJsonError:
        return
    for row in rows[-_MOST_BAD_ENDS:] if isinstance(rows, list) else ():
        began, over, why = row if isinstance(row, list) and len(row) == 3 else (None, None, "")
        began_at, over_at = number(began), number(over)
        if began_at is not None and over_at is not None and isinstance(why, str):
            yield BadEnd(began_at, over_at, one_line(text(why, _LONGEST_END)))
