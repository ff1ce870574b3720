"""What became of all that was seen, in a few lines: same reasons are one line."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from live_restore.errors import JournalError, one_line
from live_restore.journal.entry import Entry
from live_restore.journal.journal import Journal
from live_restore.journal.reasons import ReasonKind
from live_restore.journal.states import State
from live_restore.stack import StackKey

MOST_LINES = 30
_MOST_ENTRIES = 20_000
# What a display shows is gathered no more often, and takes no more than a hundredth of a core.
_GATHERED_S = 2.0
_REST = 100
_ORDER = (
    State.FAILED, State.REFUSED, State.INCOMPLETE, State.ARRIVING, State.RUNNING, State.WAITING
)  # fmt: skip
_IN_TURN = (State.RUNNING, State.WAITING)
"""Without a reason, nothing keeps them but others before them."""


@dataclass
class Group:
    """Files and stacks of one state, for one reason.

    Parameters
    ----------
    state, reason
        Which; the reason is that of the first.
    keys
        Which they are.
    """

    state: State
    reason: str
    keys: list[StackKey]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.keys)

    @property
    def first(self) -> Path:
        """The first of them by its name, relative to the watched folder."""
        return min(key.path for key in self.keys)

    def __str__(self) -> str:
        """Return one line.

        >>> keys = [StackKey(Path("b.tif")), StackKey(Path("a.tif"))]
        >>> str(Group(State.REFUSED, "RGB; save the camera's grey values", keys))
        "2 refused (a.tif ...): RGB; save the camera's grey values"
        """
        which = one_line(self.first) + (" ..." if self.count > 1 else "")
        line = f"{self.count:,} {self.state.value} ({which})"
        return f"{line}: {one_line(self.reason)}" if self.reason else line


def grouped(
    entries: Iterable[Entry], reasons: Mapping[StackKey, str] | None = None, *, pattern: str | None
) -> list[Group]:
    """Return what is not restored, what is worst first.

    Parameters
    ----------
    entries
        Of the journal; what is restored is passed over.
    reasons
        By the key of an entry, where it is not the entry's own.
    pattern
        ``files.plane_pattern``: nobody is told to set it who has.
    """
    groups: dict[tuple[State, ReasonKind], Group] = {}
    for entry in entries:
        reason = (reasons or {}).get(entry.key, entry.reason)
        if entry.state is State.DONE or (entry.state in _IN_TURN and not reason):
            continue
        kind = entry.state, ReasonKind.of(reason, entry.key)
        groups.setdefault(kind, Group(entry.state, reason, [])).keys.append(entry.key)
    for (_, alike), group in groups.items():
        group.reason = alike.of_all(group.count, pattern) or group.reason
    return sorted(groups.values(), key=lambda g: (_ORDER.index(g.state), -g.count, g.first))


def lines(groups: Iterable[object], passed_by: Iterable[object]) -> tuple[str, ...]:
    """Return what a person is shown, a line each, and not without end.

    >>> lines([1, 2], [3])
    ('1', '2', '3')
    """
    found = (*map(str, groups), *map(str, passed_by))
    if len(found) <= MOST_LINES:
        return found
    return (*found[:MOST_LINES], f"and {len(found) - MOST_LINES} reasons more")


class Account:
    """Why what was seen is not restored: gathered now and then, for a display that asks often.

    Parameters
    ----------
    journal
        What is known.
    pattern
        ``files.plane_pattern``.
    clock
        The time (monotonic s).
    """

    def __init__(
        self,
        journal: Journal,
        pattern: str | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._pattern = pattern
        self._clock = clock
        self._lines: tuple[str, ...] = ()
        self._due = -math.inf

    def lines(
        self, passed_by: Callable[[], Iterable[object]], *, now: bool = False
    ) -> tuple[str, ...]:
        """Return a line for each reason.

        Parameters
        ----------
        passed_by
            Returns what a source passes by.
        now
            Not as of some seconds ago.
        """
        began = self._clock()
        if now or began >= self._due:
            with suppress(JournalError):  # the last lines are better than none
                groups = grouped(self._journal.not_done(_MOST_ENTRIES), pattern=self._pattern)
                self._lines = lines(groups, passed_by())
            took = self._clock() - began
            self._due = began + max(_GATHERED_S, _REST * took)
        return self._lines
