"""The reading side of the journal: what displays and commands ask; changes nothing."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from live_restore.journal import renames, schema
from live_restore.journal.database import Database
from live_restore.journal.entry import (
    WHOLE,
    AcquisitionEntry,
    Entry,
    acquisition_bytes,
    entry_of,
    key_columns,
    key_of,
    state_of,
)
from live_restore.journal.facts import Facts
from live_restore.journal.states import State
from live_restore.stack import FOR_BRIGHTNESS, Fingerprint, StackIndex, StackKey

WHOSE = (
    "recipe = :recipe AND acquisition = :acquisition AND position = :position "
    "AND time = :time AND channel = :channel"
)
"""Says in SQL which entry is meant, with ``key_columns`` and a recipe as parameters."""


class JournalView:
    """The journal of one watched folder, open to be looked at; safe to use from several threads.

    Parameters
    ----------
    path
        Its file.
    root
        The watched folder.
    recipe
        Whose entries count; "": those of the last one that wrote.

    Raises
    ------
    LiveRestoreError
        The journal cannot be opened.

    Attributes
    ----------
    facts
        What it says about itself.
    path, root, recipe
        As above.
    """

    def __init__(
        self, path: Path, root: Path, *, recipe: str = "", database: Database | None = None
    ) -> None:
        self._file = database or Database(path, root, recipe=recipe, read_only=True)
        self.facts = Facts(self._file)
        self.path = path
        self.root = root
        self.recipe = self._file.recipe

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the database and let go of the folder."""
        self._file.close()

    def entries(self) -> list[Entry]:
        """Return every entry of this recipe, in order of completion, the unfinished last."""
        with self._file.reading() as db:
            rows = db.execute(
                "SELECT * FROM entry WHERE recipe = ? ORDER BY turn IS NULL, turn, id",
                (self.recipe,),
            ).fetchall()
        return [entry_of(row) for row in rows]

    def not_done(self, most: int) -> list[Entry]:
        """Return entries of this recipe that are not restored, at most so many, oldest first."""
        with self._file.reading() as db:
            rows = db.execute(
                "SELECT * FROM entry WHERE recipe = ? AND state != 'done' ORDER BY id LIMIT ?",
                (self.recipe, most),
            ).fetchall()
        return [entry_of(row) for row in rows]

    def entry(self, key: StackKey) -> Entry | None:
        """Return what is known about one file or stack."""
        with self._file.reading() as db:
            row = db.execute(
                f"SELECT * FROM entry WHERE {WHOSE}",  # noqa: S608 - a constant
                {"recipe": self.recipe, **key_columns(key)},
            ).fetchone()
            return None if row is None else entry_of(row)

    def done_under_other_names(self, key: StackKey, fingerprint: Fingerprint) -> list[Entry]:
        """Return what is done of raw data like these: the same stack of another acquisition."""
        with self._file.reading() as db:
            return [entry_of(row) for row in renames.former(db, self.recipe, key, fingerprint)]

    def stacks_in(self, acquisition: Path) -> dict[StackIndex, Entry]:
        """Return what is known about the stacks of an acquisition folder."""
        with self._file.reading() as db:
            rows = db.execute(
                "SELECT * FROM entry WHERE recipe = ? AND acquisition = ? AND position != ?",
                (self.recipe, acquisition_bytes(acquisition), WHOLE),
            ).fetchall()
        entries = [entry_of(row) for row in rows]
        return {entry.key.index: entry for entry in entries if entry.key.index is not None}

    def acquisition_format(self, acquisition: Path) -> str:
        """Return the name of the format that an acquisition was found to have, "" if it was not."""
        with self._file.reading() as db:
            row = db.execute(
                "SELECT format FROM acquisition WHERE acquisition = ?",
                (acquisition_bytes(acquisition),),
            ).fetchone()
        return str(row["format"]) if row else ""

    def acquisitions(self) -> list[AcquisitionEntry]:
        """Return the acquisition folders that were found, by their names."""
        with self._file.reading() as db:
            rows = db.execute("SELECT * FROM acquisition ORDER BY acquisition").fetchall()
        return [
            AcquisitionEntry(Path(os.fsdecode(row["acquisition"])), row["format"], row["note"])
            for row in rows
        ]

    def waits(self, exclude: frozenset[StackKey] = frozenset()) -> bool:
        """Return whether anything waits that is not in ``exclude``."""
        with self._file.reading() as db:
            # One more than are excluded: then at least one is not among them.
            rows = db.execute(
                "SELECT * FROM entry WHERE recipe = ? AND state = 'waiting' LIMIT ?",
                (self.recipe, len(exclude) + 1),
            ).fetchall()
        return any(key_of(row) not in exclude for row in rows)

    def counts(self) -> dict[State, int]:
        """Return the number of entries in each state."""
        with self._file.reading() as db:
            rows = db.execute(
                "SELECT state, COUNT(*) AS n FROM entry WHERE recipe = ? GROUP BY state",
                (self.recipe,),
            ).fetchall()
        found = {state_of(row["state"]): int(row["n"]) for row in rows}
        return {state: found.get(state, 0) for state in State}

    def hanging(self) -> str:
        """Return what its living process has been waiting for very long, "" for nothing."""
        with self._file.reading() as db:
            return schema.fact(db, "hanging")

    def doubtful(self) -> tuple[int, int]:
        """Return how many entries are done, but doubtful; and in how many only brightness is."""
        with self._file.reading() as db:
            either, brightness = db.execute(
                "SELECT COUNT(*), COUNT(CASE WHEN substr(reason, 1, ?) = ? THEN 1 END) FROM entry "
                "WHERE recipe = ? AND state = 'done' AND reason != ''",
                (len(FOR_BRIGHTNESS), FOR_BRIGHTNESS, self.recipe),
            ).fetchone()
        return int(either) - int(brightness), int(brightness)


def is_busy(view: JournalView) -> bool:
    """Return whether anything waits, or is being restored."""
    counts = view.counts()
    return bool(counts[State.WAITING] or counts[State.RUNNING])
