"""One row of the journal: what is known about one file, or about one stack of an acquisition."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from live_restore.errors import LiveRestoreError, one_line
from live_restore.files.naming import error_bars_path
from live_restore.files.reading import holds_nothing
from live_restore.journal.states import State
from live_restore.stack import FOR_BRIGHTNESS, Fingerprint, StackIndex, StackKey

WHOLE = -1
"""Stored as position, time and channel of what is one unit of work: a file and all its stacks."""

NOWHERE = Fingerprint(-1, -1)
"""No file has it: whatever is found under the name is new."""

GROWING = "still being written"
"""Reason of a file that waits because some of its stacks are whole: there will be more."""


@dataclass(frozen=True)
class AcquisitionEntry:
    """An acquisition folder as the journal knows it.

    ``acquisition`` is relative to the watched folder, ``format`` the name of its format, ``note``
    what a person should know of it beside its stacks ("": nothing).
    """

    acquisition: Path
    format: str
    note: str


@dataclass(frozen=True)
class Entry:
    """One file (of one or several stacks), or one stack of an acquisition, as the journal knows it.

    Times ending in ``_at`` are seconds since 1970, for people. ``lease_until`` is the time by which
    a living process renews its lease. The reason of a done entry says why its result is doubtful.
    """

    key: StackKey
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
    def growing(self) -> bool:
        """Whether it waits, or is worked on, while it is still being written."""
        return self.reason.startswith(GROWING)

    @property
    def doubtful(self) -> bool:
        """Whether it is restored, and a person should look before believing the result."""
        return self.state is State.DONE and bool(self.reason) and not self.doubtful_brightness

    @property
    def doubtful_brightness(self) -> bool:
        """Whether it is restored, and nothing is doubtful but measuring brightness in it."""
        return self.state is State.DONE and self.reason.startswith(FOR_BRIGHTNESS)

    def never_complete(self, *, watched: bool) -> bool:
        """Return whether it was still arriving when the last watch ended."""
        return self.state is State.ARRIVING and not watched

    def reason_now(self, now: float, *, watched: bool = True) -> str:
        """Return the reason, or why nobody works on it although it is leased.

        Parameters
        ----------
        now
            The time (s since 1970).
        watched
            Whether a living process has the journal open.
        """
        if self.never_complete(watched=watched):
            return (
                f"{self.reason or 'its end has never come'}; "
                "record it again, or start live-restore watch if it has been completed since"
            )
        if self.state is State.RUNNING and not watched:
            return "interrupted: its process is gone; live-restore watch takes it up again"
        if self.state is State.RUNNING and self.lease_until is not None and now > self.lease_until:
            return (
                f"no sign of life from its process for {now - self.lease_until:.0f} s; "
                "start live-restore watch again"
            )
        return self.reason

    def lost_its_result(self, root: Path, error_bars: bool = False) -> bool:
        """Return whether it is done, its raw file is there, and its result certainly is not.

        ``error_bars``: or those of the result are not, or hold nothing.
        """
        if self.state is not State.DONE or not self.result:
            return False
        result = Path(self.result)
        if not (_is_gone(result) or (error_bars and holds_nothing(error_bars_path(result)))):
            return False
        try:
            (root / self.key.acquisition).lstat()
        except (OSError, ValueError):
            return False
        return True

    def lost_its_raw_data(self, root: Path) -> bool:
        """Return whether it is done, and its raw data are certainly not there any more."""
        return self.state is State.DONE and _is_gone(root / self.key.acquisition)

    def is_gone_with_its_result(self, root: Path) -> bool:
        """Return whether it is done, and certainly neither raw data nor result are there."""
        done = self.state is State.DONE and bool(self.result)
        return done and _is_gone(Path(self.result)) and _is_gone(root / self.key.acquisition)


def _is_gone(path: Path) -> bool:
    """Return whether there is certainly nothing at ``path``."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):  # a share that does not answer, or no name: nothing is known
        return False
    return False


def acquisition_bytes(acquisition: Path) -> bytes:
    """Return how the path of an acquisition is stored: file names need not be valid text."""
    return os.fsencode(acquisition.as_posix())


def folder_bytes(acquisition: bytes, position: int) -> bytes:
    """Return the folder that a row lies in, as it is stored: its results go to one place.

    >>> folder_bytes(b"day/a.tif", WHOLE), folder_bytes(b"day/run_1", 0), folder_bytes(b"a", WHOLE)
    (b'day', b'day/run_1', b'')
    """
    return acquisition.rpartition(b"/")[0] if position == WHOLE else acquisition


def key_columns(key: StackKey) -> dict[str, Any]:
    """Return the columns that identify an entry.

    Examples
    --------
    >>> key_columns(StackKey(Path("day/run_1"), StackIndex(0, 4, 1)))
    {'acquisition': b'day/run_1', 'position': 0, 'time': 4, 'channel': 1}
    """
    position, time, channel = key.index or (WHOLE, WHOLE, WHOLE)
    return {
        "acquisition": acquisition_bytes(key.acquisition),
        "position": position,
        "time": time,
        "channel": channel,
    }


def key_of(row: sqlite3.Row) -> StackKey:
    """Return the key in a row."""
    acquisition = Path(os.fsdecode(row["acquisition"]))
    index = StackIndex(row["position"], row["time"], row["channel"])
    return StackKey(acquisition, None if index.position == WHOLE else index)


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
            key=key_of(row),
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
