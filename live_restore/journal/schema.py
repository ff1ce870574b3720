"""The tables of the journal, and how a journal of an earlier version becomes one of today's."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path, PurePosixPath
from typing import Any

from live_restore.errors import LiveRestoreError, one_line
from live_restore.journal.entry import WHOLE, folder_bytes
from live_restore.stack import StackIndex

VERSION = 3

_TABLES = """
CREATE TABLE IF NOT EXISTS entry (
    id          INTEGER PRIMARY KEY,
    recipe      TEXT NOT NULL,
    acquisition BLOB NOT NULL,            -- path below the watched folder, as os.fsencode gives it
    position    INTEGER NOT NULL,         -- these three are -1 for a file as one unit of work
    time        INTEGER NOT NULL,
    channel     INTEGER NOT NULL,
    folder      BLOB NOT NULL,            -- of a file the one that it lies in, of a stack its own
    state       TEXT NOT NULL,
    reason      TEXT NOT NULL DEFAULT '',
    size        INTEGER NOT NULL,
    mtime_ns    INTEGER NOT NULL,
    attempts    INTEGER NOT NULL DEFAULT 0,
    stacks      INTEGER NOT NULL DEFAULT 0,
    result      BLOB NOT NULL DEFAULT x'', -- as os.fsencode gives it
    turn        INTEGER,                  -- order of completion
    seen_at     REAL NOT NULL,
    finished_at REAL,
    owner       TEXT,
    lease_until REAL,
    UNIQUE (recipe, acquisition, position, time, channel)
);
CREATE INDEX IF NOT EXISTS entry_by_state ON entry (recipe, state, turn);
CREATE INDEX IF NOT EXISTS entry_by_turn ON entry (turn);
CREATE INDEX IF NOT EXISTS entry_by_folder ON entry (recipe, state, folder, turn);
CREATE TABLE IF NOT EXISTS acquisition (
    acquisition BLOB PRIMARY KEY,         -- path below the watched folder, as os.fsencode gives it
    format      TEXT NOT NULL,
    note        TEXT NOT NULL             -- what a person should know of it beside its stacks
);
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_KEPT = (
    "id, recipe, state, reason, size, mtime_ns, attempts, stacks, result, turn, seen_at, "
    "finished_at, owner, lease_until"
)
"""Columns that all schemas have in common."""


def fact(db: sqlite3.Connection, name: str) -> str:
    """Return what the journal says about itself, "" where it says nothing."""
    row = db.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
    return str(row["value"]) if row else ""


def version_of(db: sqlite3.Connection, path: Path) -> int:
    """Return the schema of a journal, 0 for a file without one.

    Raises
    ------
    LiveRestoreError
        It is of a newer version of this program.
    """
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'fact'").fetchone():
        return 0
    found = fact(db, "schema")
    if not found:  # killed while it was made: earlier versions did not do so all at once
        columns = {row["name"] for row in db.execute("PRAGMA table_info(entry)")}
        return 1 if "source" in columns else 0
    if found and not (found.isdecimal() and int(found) <= VERSION):
        raise LiveRestoreError(
            f"the journal is of a newer live-restore (schema {one_line(found)}, this one knows "
            f"{VERSION})",
            path,
            "use that version, or move the file away to begin anew",
        )
    return int(found)


def bring_up_to_date(db: sqlite3.Connection, found: int) -> None:
    """Make the tables, or of those of an earlier schema today's; all of it or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        if found == 1:
            _from_1(db)
        if found == 2:
            db.execute("ALTER TABLE entry ADD COLUMN folder BLOB NOT NULL DEFAULT x''")
        if found:
            db.create_function("folder_of", 2, folder_bytes, deterministic=True)
            db.execute("UPDATE entry SET folder = folder_of(acquisition, position)")
        for statement in _TABLES.split(";\n"):
            if statement.strip():
                db.execute(statement)
        db.execute("INSERT OR REPLACE INTO fact VALUES ('schema', ?)", (str(VERSION),))
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _from_1(db: sqlite3.Connection) -> None:
    """Schema 1 had one column ``source``: of a stack, its acquisition's path and its label."""
    db.execute("ALTER TABLE entry RENAME TO entry_1")
    for index in ("entry_by_state", "entry_by_turn"):
        db.execute(f"DROP INDEX IF EXISTS {index}")
    db.execute(_TABLES.partition(";\n")[0])
    marks = ", ".join("?" * (4 + len(_KEPT.split(","))))
    db.executemany(
        f"INSERT INTO entry (acquisition, position, time, channel, {_KEPT}, folder) "  # noqa: S608 - columns named above
        f"VALUES ({marks}, x'')",
        [
            (*_key_1(row["source"]), *(row[name.strip()] for name in _KEPT.split(",")))
            for row in db.execute(f"SELECT source, {_KEPT} FROM entry_1")  # noqa: S608 - likewise
        ],
    )
    db.execute("DROP TABLE entry_1")


def _key_1(source: bytes) -> tuple[Any, ...]:
    path = PurePosixPath(os.fsdecode(source))
    # No raw file has such a name: all formats of files are recognised by their endings.
    index = StackIndex.from_label(path.name)
    if index is None:
        return (source, WHOLE, WHOLE, WHOLE)
    return (os.fsencode(str(path.parent)), *index)
