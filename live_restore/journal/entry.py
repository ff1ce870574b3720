"""The rows of the journal: what is known about one file, or about one stack of a data set."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from live_restore.errors import LiveRestoreError, one_line
from live_restore.stack import Fingerprint, StackIndex


class State(StrEnum):
    """Where a file, or a stack of a data set, stands."""

    ARRIVING = "arriving"
    INCOMPLETE = "incomplete"
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"


@dataclass(frozen=True)
class Entry:
    """One file (of one or several stacks), or one stack of a data set, as the journal knows it.

    ``source`` is relative to the watched folder; of a stack of a data set it is the data set's
    folder and the stack's label (``run_1/p000_t0004_c01``). Times ending in ``_at`` are seconds
    since 1970, for people. ``lease_until`` is the time by which a living process renews its claim.
    The reason of a done entry says why its result is doubtful.
    """

    source: Path
    state: State
    reason: str
    fingerprint: Fingerprint
    attempts: int
    stacks: int
    result: str
    seen_at: float
    finished_at: float | None
    lease_until: float | None = None

    @property
    def doubtful(self) -> bool:
        """Whether it is restored, and a person should look before believing the result."""
        return self.state is State.DONE and bool(self.reason)

    def told_reason(self, now: float, *, watched: bool = True) -> str:
        """Return the reason, or why nobody works on it although it is claimed.

        Parameters
        ----------
        now
            The time (s since 1970).
        watched
            Whether a living process has the journal open.
        """
        if self.state is State.RUNNING and not watched:
            return "interrupted: its process is gone; live-restore watch takes it up again"
        if self.state is State.RUNNING and self.lease_until is not None and now > self.lease_until:
            return (
                f"no sign of life from its process for {now - self.lease_until:.0f} s; "
                "start live-restore watch again"
            )
        return self.reason

    @property
    def stack_index(self) -> StackIndex | None:
        """Which stack of a data set it is; ``None`` for a file."""
        return StackIndex.from_label(self.source.name)

    def lost_its_result(self, root: Path) -> bool:
        """Return whether it is done, its raw file is there, and its result certainly is not."""
        if self.state is not State.DONE or not self.result:
            return False
        try:
            Path(self.result).lstat()
        except (FileNotFoundError, NotADirectoryError):
            pass
        except (OSError, ValueError):  # a share that does not answer, or no name: nothing is known
            return False
        else:
            return False
        raw = self.source if self.stack_index is None else self.source.parent
        try:
            (root / raw).lstat()
        except (OSError, ValueError):
            return False
        return True


NOWHERE = Fingerprint(-1, -1)
"""No file has it: whatever is found under the name is new."""


def key_of(source: Path) -> bytes:
    """Return how a source is stored: file names need not be valid text."""
    return os.fsencode(source.as_posix())


def source_of(key: bytes) -> Path:
    """Return the source that is stored so."""
    return Path(os.fsdecode(key))


def state_of(text: str) -> State:
    """Return a state as it is stored; raises ``LiveRestoreError`` for one of a newer version."""
    try:
        return State(text)
    except ValueError:
        raise LiveRestoreError(
            f"the journal knows a state that this version does not ({one_line(text)})",
            None,
            "use the live-restore that wrote it, or move the journal away to begin anew",
        ) from None


def entry_of(row: sqlite3.Row) -> Entry:
    """Return the entry in a row; raises ``LiveRestoreError`` where the journal is damaged."""
    try:
        return Entry(
            source=source_of(row["source"]),
            state=state_of(row["state"]),
            reason=row["reason"],
            fingerprint=Fingerprint(row["size"], row["mtime_ns"]),
            attempts=row["attempts"],
            stacks=row["stacks"],
            result=os.fsdecode(row["result"]),
            seen_at=row["seen_at"],
            finished_at=row["finished_at"],
            lease_until=row["lease_until"],
        )
    except (TypeError, IndexError):  # another type, another table, or (a damaged index) no row
        raise LiveRestoreError(
            "the journal has a damaged entry",
            None,
            "move the journal away to begin anew; results that are there are recognised",
        ) from None
